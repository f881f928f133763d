import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import find_latest_checkpoint

from mmthunder.engine.runner.disk_errors import explain_disk_errors


def mount(directory: Path, options: str) -> bool:
    """Mount a disk in memory, or change the options of one."""
    command = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(directory)]
    return shutil.which('mount') is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path) -> Path:
    """A disk of 4 MB: room for one checkpoint of the narrow detector and not for two."""
    directory = tmp_path / 'disk'
    directory.mkdir()
    if not mount(directory, 'size=4m'):
        pytest.skip('needs the right to mount a disk in memory')
    yield directory
    subprocess.run(['umount', '--lazy', str(directory)], check=True)


@pytest.fixture
def cfg(tiny_cfg, disk):
    """Two epochs of one iteration."""
    tiny_cfg.train_dataloader.dataset.indices = 2
    tiny_cfg.train_dataloader.num_workers = 0
    tiny_cfg.train_cfg.update(max_epochs=2, val_interval=9)
    tiny_cfg.val_cfg = tiny_cfg.val_dataloader = tiny_cfg.val_evaluator = None
    tiny_cfg.work_dir = str(disk / 'work')
    return tiny_cfg


def test_full_disk(cfg, build_runner, disk):
    with pytest.raises(OSError) as error:
        build_runner(cfg).train()
    last = f'{cfg.work_dir}/epoch_1.pth'
    assert error.value.errno == errno.ENOSPC
    message, size = str(error.value), Path(last).stat().st_size / 2**20
    assert (
        f'{cfg.work_dir}/epoch_2.pth: cannot be written: No space left on device while writing {size:.1f} MB; '
        in message
    )
    assert f' MB of 4 MB are free on the disk at {disk}' in message
    assert '\n' not in message
    assert torch.load(last, weights_only=True)['meta']['epoch'] == 1
    assert sorted(path.suffix for path in Path(cfg.work_dir).iterdir() if path.is_file()) == ['', '.pth', '.py']

    # With room, it goes on.
    assert mount(disk, 'remount,size=9m')
    cfg.resume = True
    build_runner(cfg).train()
    assert find_latest_checkpoint(cfg.work_dir) == f'{cfg.work_dir}/epoch_2.pth'
    assert torch.load(f'{cfg.work_dir}/epoch_2.pth', weights_only=True)['meta']['epoch'] == 2


def test_read_only_disk(cfg, build_runner, disk):
    Path(cfg.work_dir).mkdir()
    (disk / 'work/epoch_1.pth').write_bytes(b'earlier')
    assert mount(disk, 'remount,ro')
    with pytest.raises(OSError) as error:
        build_runner(cfg)
    message = str(error.value)
    assert error.value.errno == errno.EROFS
    assert f'{cfg.work_dir}/2' in message and '\n' not in message  # the directory of this start, named after its time
    assert message.endswith(
        'cannot be written: Read-only file system; make the work directory '
        f'{cfg.work_dir} writable, or give another --work-dir'
    )
    assert (disk / 'work/epoch_1.pth').read_bytes() == b'earlier'


def test_a_file_instead_of_the_work_directory(tiny_cfg, build_runner, tmp_path):
    (tmp_path / 'work').write_text('')
    with pytest.raises(FileExistsError, match=f'{tmp_path}/work: cannot be written: File exists'):
        build_runner(tiny_cfg)


@pytest.mark.skipif(hasattr(os, 'geteuid') and os.geteuid() == 0, reason='root may write everywhere')
def test_forbidden_directory(tiny_cfg, build_runner, tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match=f'{tmp_path}/work: cannot be written: Permission denied; make the work'):
        build_runner(tiny_cfg)
    tmp_path.chmod(0o755)


class TestExplainDiskErrors:
    @staticmethod
    def explained(error: OSError, directory: Path) -> OSError:
        with pytest.raises(OSError) as raised, explain_disk_errors(str(directory)):
            raise error
        return raised.value

    @pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    def test_no_room(self, tmp_path, number):
        """A file need not be in the work directory, as that of another out_dir."""
        error = self.explained(OSError(number, os.strerror(number), '/proc/none/epoch_1.pth'), tmp_path)
        assert error.errno == number
        assert f'/proc/none/epoch_1.pth: cannot be written: {os.strerror(number)}; ' in str(error)
        assert 'MB are free on the disk at /proc' in str(error)

    @pytest.mark.parametrize(('fullest', 'name'), [('work', 'work'), ('temporary', 'temporary')])
    def test_unnamed_file(self, tmp_path, monkeypatch, fullest, name):
        """Writing to an open file does not tell which one: the log is in the work directory, results pass through
        the temporary one."""
        (tmp_path / 'work').mkdir(), (tmp_path / 'temporary').mkdir()
        monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'temporary'))
        monkeypatch.setattr(
            shutil,
            'disk_usage',
            lambda path: SimpleNamespace(free=2**20 * (str(path) != str(tmp_path / fullest)), total=0),
        )
        error = self.explained(OSError(errno.ENOSPC, 'full'), tmp_path / 'work')
        assert f'{tmp_path}/{name}: cannot be written' in str(error) and '; 0.0 MB of 0 MB are free' in str(error)

    def test_unreadable_data_in_the_work_directory(self, tmp_path, monkeypatch):
        """The work directory may have everything in it; that it is closed itself remains an error of writing."""
        directory, image, closed = tmp_path / 'data', tmp_path / 'data/1.jpg', set()
        directory.mkdir()
        image.touch()
        monkeypatch.setattr(os, 'access', lambda path, mode: Path(path) not in closed)  # root reads everything
        for place, path, is_writing in (
            (None, image, True),
            (image, image, False),
            (directory, directory / '2.jpg', False),
            (tmp_path, tmp_path / 'epoch_1.pth', True),
        ):
            closed.clear()
            closed.add(place)
            error = self.explained(PermissionError(errno.EACCES, 'Permission denied', str(path)), tmp_path)
            assert ('cannot be written' in str(error)) == is_writing and str(path) in str(error)

    @pytest.mark.parametrize(
        'error',
        [
            PermissionError(errno.EACCES, 'denied', '/data/images/1.jpg'),
            PermissionError(errno.EACCES, 'denied'),
            FileNotFoundError(errno.ENOENT, 'none', '/data/work/1.jpg'),
            OSError('without a number'),
            ValueError('/data/work'),
        ],
    )
    def test_others_pass(self, error):
        with pytest.raises(type(error)) as raised, explain_disk_errors('/data/work'):
            raise error
        assert raised.value is error
