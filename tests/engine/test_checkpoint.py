"""Untrusted checkpoints: nothing in them is executed, wherever they are given."""

import functools
import http.server
import os
import threading
from pathlib import Path
from typing import Iterator

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint

from mmthunder.apis import load_detector
from mmthunder.engine import CheckpointError, safe_loading


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.system, (f'touch {self.mark}',)


@pytest.fixture
def mark(tmp_path) -> Path:
    """The file that appears if a checkpoint is run."""
    return tmp_path / 'mark'


@pytest.fixture(params=['zip', 'legacy'])
def malicious(request, tmp_path, mark) -> str:
    path = str(tmp_path / 'malicious.pth')
    content = dict(state_dict=dict(weight=torch.zeros(1)), meta=dict(epoch=1, iter=1, seed=Malicious(mark)))
    torch.save(content, path, _use_new_zipfile_serialization=request.param == 'zip')
    return path


def train(cfg: Config, path: str, build_runner) -> None:
    cfg.load_from = path
    build_runner(cfg).train()


def resume(cfg: Config, path: str, build_runner) -> None:
    cfg.resume = True
    train(cfg, path, build_runner)


def resume_the_last(cfg: Config, path: str, build_runner) -> None:
    """As by `--resume` without a file."""
    work_dir = Path(cfg.work_dir)
    work_dir.mkdir()
    (work_dir / 'last_checkpoint').write_text(path)
    cfg.resume = True
    build_runner(cfg).train()


def test(cfg: Config, path: str, build_runner) -> None:
    cfg.load_from = path
    build_runner(cfg).test()


def init_cfg(cfg: Config, path: str, build_runner) -> None:
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    build_runner(cfg).train()


def export(cfg: Config, path: str, build_runner) -> None:
    load_detector(cfg, path)


USES = [train, resume, resume_the_last, test, init_cfg, export]
test.__test__ = False  # it is one of the uses


@pytest.mark.parametrize('use', USES, ids=lambda use: use.__name__)
def test_malicious_pickle_is_refused(tiny_cfg, build_runner, malicious, mark, use):
    with pytest.raises(CheckpointError) as error:
        use(tiny_cfg, malicious, build_runner)
    message = str(error.value)
    assert message.startswith(f'{malicious}: refused') and '.system)' in message and '\n' not in message
    assert not mark.exists()


def test_the_pickle_is_malicious(malicious, mark):
    """The same file does run its command where it is loaded without care."""
    torch.load(malicious, weights_only=False)
    assert mark.exists()


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[str]:
    """Serves the files of the folder; downloads go there too."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'downloads'))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, 'log_message', lambda *args: None)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def test_malicious_download_is_refused(server, malicious, mark):
    """mmengine leaves weights_only unset for URLs, where torch's default is False."""
    model = torch.nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match=f'^{server}/malicious.pth: refused'), safe_loading():
        load_checkpoint(model, f'{server}/malicious.pth')
    assert not mark.exists()


def test_config_of_a_checkpoint_is_not_run(tiny_cfg, build_runner, tmp_path, mark):
    """mmengine runs it on resuming."""
    tiny_cfg.train_cfg.update(max_epochs=1, val_interval=100)
    tiny_cfg.train_dataloader.num_workers = 0
    build_runner(tiny_cfg).train()
    path = f'{tiny_cfg.work_dir}/epoch_1.pth'
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['meta']['config'] = f'open({str(mark)!r}, "w")\n'
    torch.save(checkpoint, path)
    tiny_cfg.train_cfg.max_epochs = 2
    resume(tiny_cfg, path, build_runner)
    assert not mark.exists()
    assert (Path(tiny_cfg.work_dir) / 'epoch_2.pth').exists()


def load(path: Path) -> dict:
    with safe_loading():
        return load_checkpoint(torch.nn.Linear(1, 1), str(path))


@pytest.mark.parametrize('content', [b'', b'no checkpoint', b'PK\x03\x04' + bytes(100)], ids=['empty', 'text', 'zip'])
def test_other_files(tmp_path, content):
    path = tmp_path / 'file.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f'^{path}: (damaged, or|refused, since it is) no file of Py') as error:
        load(path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('share', [0.1, 0.5, 0.99])
def test_cut_files(tmp_path, share):
    path = tmp_path / 'file.pth'
    torch.save(dict(state_dict=dict(weight=torch.rand(1000))), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=f'^{path}: damaged, or no file of PyTorch'):
        load(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='missing.pth'):
        load(tmp_path / 'missing.pth')


def test_other_errors_pass():
    """They are not about a checkpoint."""
    with pytest.raises(ZeroDivisionError), safe_loading():
        raise ZeroDivisionError


@pytest.mark.parametrize('name', ['TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'])
def test_environment_stays(tmp_path, monkeypatch, name):
    """Outside the context torch.load is as it was; inside, the environment does not weaken it."""
    monkeypatch.setenv(name, '1')
    before = dict(os.environ)
    torch.save(dict(weight=torch.ones(1, 1)), tmp_path / 'file.pth')
    assert load(tmp_path / 'file.pth')['weight'].tolist() == [[1]]
    assert dict(os.environ) == before
    torch.save(Path('x'), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='refused'):
        load(tmp_path / 'other.pth')
    assert dict(os.environ) == before
