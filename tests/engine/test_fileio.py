import errno
import os

import pytest
from mmengine.fileio import get_file_backend

from mmthunder.engine.fileio import AtomicBackend


@pytest.fixture
def backend() -> AtomicBackend:
    return get_file_backend(backend_args=dict(backend='atomic'))


def test_put(backend, tmp_path):
    path = tmp_path / 'new/folder/file.bin'
    backend.put(b'first', path)
    assert path.read_bytes() == b'first'
    backend.put(b'2nd', str(path))
    assert path.read_bytes() == b'2nd'
    assert os.listdir(path.parent) == ['file.bin']


def test_put_in_the_current_folder(backend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backend.put(b'content', 'file.bin')
    assert (tmp_path / 'file.bin').read_bytes() == b'content'


def test_the_name_comes_last(backend, tmp_path, monkeypatch):
    """All bytes are on the disk before the file has its name."""
    path, synced = tmp_path / 'file.bin', []

    def fsync(number: int) -> None:
        synced.append((os.fstat(number).st_size, sorted(os.listdir(tmp_path))))

    monkeypatch.setattr(os, 'fsync', fsync)
    backend.put(b'content', path)
    assert synced == [(7, ['file.bin.partial'])]


@pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(backend, tmp_path, monkeypatch, error):
    path = tmp_path / 'file.bin'
    backend.put(b'old', path)

    def fail(number: int) -> None:
        raise error

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(type(error)) as raised:
        backend.put(bytes(3 * 2**20), path)
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['file.bin']
    if isinstance(error, OSError):
        assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
        assert raised.value.strerror == 'No space left on device while writing 3.0 MB'


def test_a_file_instead_of_the_folder(backend, tmp_path):
    (tmp_path / 'folder').write_text('')
    with pytest.raises(OSError) as error:
        backend.put(b'content', tmp_path / 'folder/file.bin')
    assert error.value.filename == str(tmp_path / 'folder/file.bin')
