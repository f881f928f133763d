import errno
import os
import shutil
from pathlib import Path

import pytest

from mmthunder.utils.atomic_write import atomic_directory, atomic_files, atomic_write, remove_partial

NAMES = ('weights', 'more_weights', 'index')


def names(directory: Path) -> list:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob('*'))


def write(folder: Path, text: str, names: tuple = NAMES) -> None:
    with atomic_files(folder, names) as temporary:
        for name in names:
            (temporary / name).write_text(text)


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
        with atomic_files(tmp_path, NAMES) as temporary:
            (temporary / 'weights').write_text('new')
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


class TestOneFile:
    def test_written(self, tmp_path):
        path = tmp_path / 'new/directory/file.bin'
        atomic_write(path, b'first')
        assert path.read_bytes() == b'first'
        atomic_write(str(path), b'2nd')
        assert path.read_bytes() == b'2nd'
        assert os.listdir(path.parent) == ['file.bin']

    def test_in_the_current_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        atomic_write('file.bin', b'content')
        assert (tmp_path / 'file.bin').read_bytes() == b'content'

    def test_the_name_comes_last(self, tmp_path, monkeypatch):
        """All bytes are on the disk before the file has its name."""
        path, synced = tmp_path / 'file.bin', []
        monkeypatch.setattr(os, 'fsync', lambda number: synced.append((os.fstat(number).st_size, path.exists())))
        atomic_write(path, b'content')
        assert synced == [(7, False)] and path.exists()

    @pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt()])
    def test_a_failure_leaves_the_old_file(self, tmp_path, monkeypatch, error):
        path = tmp_path / 'file.bin'
        atomic_write(path, b'old')

        def fail(number: int) -> None:
            raise error

        monkeypatch.setattr(os, 'fsync', fail)
        with pytest.raises(type(error)) as raised:
            atomic_write(path, bytes(3 * 2**20))
        assert path.read_bytes() == b'old'
        assert os.listdir(tmp_path) == ['file.bin']
        if isinstance(error, OSError):
            assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
            assert raised.value.strerror == 'No space left on device while writing 3.0 MB'

    def test_a_file_instead_of_the_directory(self, tmp_path):
        (tmp_path / 'directory').write_text('')
        with pytest.raises(OSError) as error:
            atomic_write(tmp_path / 'directory/file.bin', b'content')
        assert error.value.filename == str(tmp_path / 'directory/file.bin')


def test_remove_partial(tmp_path, monkeypatch):
    """What a killed process leaves goes; other files and hidden directories stay."""
    (tmp_path / '.hidden').mkdir()
    (tmp_path / 'file.partial').touch()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, 'rmtree', lambda *args, **kwargs: None)
        atomic_write(tmp_path / 'file', b'')
    assert len(names(tmp_path)) == 4
    remove_partial(tmp_path)
    assert names(tmp_path) == ['.hidden', 'file', 'file.partial']


def test_complete(tmp_path):
    path = tmp_path / 'new/data'
    with atomic_directory(path) as directory:
        (directory / 'first').touch()
        assert not path.exists()
    assert names(tmp_path) == ['new', 'new/data', 'new/data/first']
    assert path.stat().st_mode == path.parent.stat().st_mode
    with atomic_directory(path) as directory:
        (directory / 'second').touch()
        assert names(path) == ['first']
    assert names(tmp_path) == ['new', 'new/data', 'new/data/second']


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_interrupted(tmp_path, error):
    (tmp_path / 'old').mkdir()
    for name in ('old', 'new'):
        with pytest.raises(error):
            with atomic_directory(tmp_path / name) as directory:
                (directory / 'half').touch()
                raise error
    assert names(tmp_path) == ['old']


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A directory of two files, which is to be replaced."""
    path = tmp_path / 'data'
    path.mkdir()
    (path / 'first').touch()
    (path / 'second').touch()
    return path


def replace(path: Path) -> None:
    with atomic_directory(path) as directory:
        (directory / 'third').touch()


def test_interrupted_while_the_old_one_is_removed(old, monkeypatch):
    """The new one is complete."""
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
