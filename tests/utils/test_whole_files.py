import os
from pathlib import Path

import pytest

from mmthunder.utils.whole_files import whole_files

NAMES = ('weights', 'more_weights', 'index')


def write(folder: Path, text: str, names: tuple = NAMES) -> None:
    with whole_files(folder, names) as aside:
        for name in names:
            (aside / name).write_text(text)


def texts(folder: Path) -> dict:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_replaced(tmp_path):
    folder = tmp_path / 'new/folder'
    write(folder, 'old')
    (folder / 'other').write_text('stays')
    write(folder, 'new')
    assert texts(folder) == dict(dict.fromkeys(NAMES, 'new'), other='stays')


def test_error_while_writing(tmp_path):
    write(tmp_path, 'old')
    with pytest.raises(KeyboardInterrupt):
        with whole_files(tmp_path, NAMES) as aside:
            (aside / 'weights').write_text('new')
            raise KeyboardInterrupt
    assert texts(tmp_path) == dict.fromkeys(NAMES, 'old')


def test_interrupted_between_the_renames(tmp_path, monkeypatch):
    """Weights of two exports are never beside an index."""
    write(tmp_path, 'old')
    replace = os.replace

    def interrupted(source: Path, target: Path) -> None:
        if target.name == 'more_weights':
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, 'replace', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, 'new')
    assert texts(tmp_path) == dict(weights='new', more_weights='old')


def test_one_file_is_always_there(tmp_path, monkeypatch):
    write(tmp_path, 'old', ('index',))

    def interrupted(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, 'new', ('index',))
    assert texts(tmp_path) == dict(index='old')
