from pathlib import Path

import pytest

from mmthunder.utils.whole_folder import whole_folder


def names(folder: Path) -> list:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*'))


def test_complete(tmp_path):
    path = tmp_path / 'new/data'
    with whole_folder(path) as folder:
        (folder / 'first').touch()
        assert not path.exists()
    assert names(tmp_path) == ['new', 'new/data', 'new/data/first']
    assert path.stat().st_mode & 0o777 == 0o755
    with whole_folder(path) as folder:
        (folder / 'second').touch()
        assert names(path) == ['first']
    assert names(tmp_path) == ['new', 'new/data', 'new/data/second']


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_interrupted(tmp_path, error):
    (tmp_path / 'old').mkdir()
    for name in ('old', 'new'):
        with pytest.raises(error):
            with whole_folder(tmp_path / name) as folder:
                (folder / 'half').touch()
                raise error
    assert names(tmp_path) == ['old']
