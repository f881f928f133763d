from mmengine.fileio import get_file_backend

from mmthunder.engine.fileio import AtomicBackend


def test_atomic_backend(tmp_path, monkeypatch):
    """Selected by name, and writes atomically."""
    backend = get_file_backend(backend_args=dict(backend='atomic'))
    assert type(backend) is AtomicBackend
    written = {}
    monkeypatch.setattr('mmthunder.engine.fileio.atomic_backend.atomic_write', written.__setitem__)
    backend.put(b'content', tmp_path / 'file.bin')
    assert written == {tmp_path / 'file.bin': b'content'}
