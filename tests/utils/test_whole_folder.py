import os
import shutil
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
    assert path.stat().st_mode == path.parent.stat().st_mode
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


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder of two files, which is to be replaced."""
    path = tmp_path / 'data'
    path.mkdir()
    (path / 'first').touch()
    (path / 'second').touch()
    return path


def replace(path: Path) -> None:
    with whole_folder(path) as folder:
        (folder / 'third').touch()


def test_interrupted_while_the_old_one_is_removed(old, monkeypatch):
    """The new one is whole."""
    rmtree = shutil.rmtree

    def interrupted(path, **kwargs) -> None:
        next(file for file in sorted(path.rglob('*')) if file.is_file()).unlink()
        monkeypatch.setattr(shutil, 'rmtree', rmtree)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, 'rmtree', interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace(old)
    assert names(old) == ['third']


@pytest.mark.parametrize(('renamed', 'left'), [(1, ['first', 'second']), (2, ['third'])])
def test_interrupted_while_renaming(old, monkeypatch, renamed, left):
    rename = os.replace
    calls = []

    def interrupted(source, target) -> None:
        rename(source, target)
        calls.append(source)
        if len(calls) == renamed:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace(old)
    assert names(old) == left
    assert [path.name for path in old.parent.iterdir()] == ['data']


@pytest.mark.parametrize('exists', [True, False])
def test_link(old, tmp_path, exists):
    """What it leads to is replaced, also if that is not there yet."""
    if not exists:
        shutil.rmtree(old)
    link = tmp_path / 'elsewhere/link'
    link.parent.mkdir()
    link.symlink_to(old)
    replace(link)
    assert link.is_symlink() and names(old) == ['third']
    assert names(tmp_path) == ['data', 'data/third', 'elsewhere', 'elsewhere/link']
