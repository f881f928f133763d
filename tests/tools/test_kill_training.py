import argparse
import copy
import os
import re
import shutil
import time
from types import ModuleType
from typing import List, Optional, TextIO

import pytest
import torch
from mmengine.config import DictAction

pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills forked processes')


@pytest.fixture(scope='module')
def kill_training(load_tool) -> ModuleType:
    return load_tool('misc/kill_training.py')


def parse(command: List[str]) -> argparse.Namespace:
    """Parse a command as mim and mmdet do."""
    parser = argparse.ArgumentParser()
    for name in ('interpreter', '-m', 'mim'):
        assert command.pop(0) is not None, name
    for name in ('command', 'package', 'config', '--work-dir', '--checkpoint'):
        parser.add_argument(name)
    parser.add_argument('--resume', action='store_true')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(command)


class Forked:
    """A command of mim in a fork of this process, which has imported everything already."""

    def __init__(self, command: List[str], output: TextIO, cfg, build_runner) -> None:
        self.returncode: Optional[int] = None
        time.sleep(1)  # mmengine names the folder of a start after the second
        self.pid = os.fork()
        if self.pid:
            os.setpgid(self.pid, self.pid)
            return
        try:
            os.setpgid(0, 0)
            os.dup2(output.fileno(), 1), os.dup2(output.fileno(), 2)
            torch.set_num_threads(1)
            args = parse(command)
            cfg = copy.deepcopy(cfg)
            cfg.merge_from_dict(args.cfg_options)
            cfg.work_dir, cfg.resume, cfg.load_from = args.work_dir, args.resume, args.checkpoint
            getattr(build_runner(cfg), args.command)()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=output, flush=True)
            os._exit(1)

    def poll(self) -> Optional[int]:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        while self.poll() is None:
            time.sleep(0.01)
        return self.returncode


@pytest.fixture
def cfg(tiny_cfg):
    """5 epochs of 2 iterations, with the best checkpoint kept aside."""
    tiny_cfg.train_dataloader.dataset.indices = 4
    tiny_cfg.train_cfg.update(max_epochs=5, val_interval=2)
    tiny_cfg.default_hooks.checkpoint.save_best = 'coco/bbox_mAP'
    for loader in (tiny_cfg.train_dataloader, tiny_cfg.val_dataloader, tiny_cfg.test_dataloader):
        loader.num_workers = 0
    return tiny_cfg


@pytest.fixture
def run(kill_training, cfg, build_runner, monkeypatch, tmp_path, capsys):
    """Runs the tool on the small config; returns its result and what it printed."""
    monkeypatch.setattr(kill_training, 'launch', lambda command, out: Forked(list(command), out, cfg, build_runner))

    def call(*args: str) -> tuple:
        code = kill_training.main([cfg.filename, '--work-dir', str(tmp_path / 'killed'), *args])
        return code, capsys.readouterr().out

    return call


def test_killed_and_resumed(run, tmp_path):
    """While it writes a checkpoint, after it has written one, and while it starts."""
    status, output = run('--kills', '3', '--seed', '0')
    folder = tmp_path / 'killed'
    assert status == 0, output + (folder / 'killed.txt').read_text()[-3000:]
    lines = output.splitlines()
    assert [line.split(',')[0] for line in lines if line.startswith('[')] == [
        '[1/3] checkpoint',
        '[2/3] after checkpoint',
        '[3/3] start',
    ]
    assert '| **all** | 3 |' in output and lines[-1].endswith('s; nothing lost')
    assert re.search(r'^logs: 10 iterations, computed \d\d times in all, and 3 validations: equal$', output, re.M)
    for part in ('state_dict', 'optimizer', 'param_schedulers', 'random_state'):
        assert f'{part} of epoch_5.pth: equal' in output
    assert re.search(r'^test: coco/bbox_mAP \S+, coco/bbox_mAP_50 \S+: equal$', output, re.M)
    assert len(list((folder / 'killed').glob('[0-9]*/'))) > 2
    for name in ('whole', 'killed'):
        assert list((folder / name).glob('best_coco_bbox_mAP_epoch_*.pth'))


@pytest.fixture
def training(kill_training, tmp_path):
    """A folder with the checkpoints of steps 2 and 4, of which the first one is the best."""
    folder = tmp_path / 'run'
    folder.mkdir()
    best = folder / 'best_AP_epoch_1.pth'
    for epoch in (1, 2):
        state = dict(
            dict.fromkeys(kill_training.COMPARED, {}),
            meta=dict(iter=2 * epoch),
            message_hub=dict(runtime_info=dict(best_score=0.5, best_ckpt=str(best))),
        )
        torch.save(state, folder / f'epoch_{epoch}.pth')
    torch.save(dict(meta=dict(iter=2), state_dict={}), best)
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
    return kill_training.Training('some_config.py', [], folder)


class TestCheck:
    @pytest.fixture
    def check(self, kill_training, training):
        check = kill_training.Check(training)
        assert check(training.look()) == []
        assert (check.newest, check.named) == (4, 4)
        return check

    def test_nothing_yet(self, kill_training, tmp_path):
        training = kill_training.Training('some_config.py', [], tmp_path / 'none')
        assert kill_training.Check(training)(training.look()) == []

    def test_cut_file(self, check, training):
        path = training.work_dir / 'epoch_1.pth'
        path.write_bytes(path.read_bytes()[:-100])
        (problem,) = check(training.look())
        assert problem.startswith(f'{path} does not load: ')

    def test_lost_file(self, check, training):
        seen = training.look()
        (training.work_dir / 'epoch_2.pth').unlink()
        assert check(seen) == [
            'the checkpoint of step 4 is lost; the newest is of step 2',
            'epoch_2.pth is lost',
            f'last_checkpoint names {training.work_dir}/epoch_2.pth; before, it named the checkpoint of step 4',
        ]

    def test_best_file(self, check, training):
        """A kill may let the previous one stay; one that has no successor is lost."""
        best, previous = (training.work_dir / f'best_AP_epoch_{i}.pth' for i in (1, 0))
        shutil.copy(best, previous)
        seen = training.look()
        assert check(seen) == []
        previous.unlink()
        assert check(seen) == []
        best.unlink()
        assert check(seen) == [f'{best}, the best checkpoint, is lost']

    def test_incomplete_file(self, check, training):
        path = training.work_dir / 'epoch_2.pth'
        state = torch.load(path)
        del state['random_state']
        torch.save(state, path)
        assert check(training.look()) == [f'{training.work_dir}/epoch_2.pth: has no random_state']

    @pytest.mark.parametrize('content', ['', 'epoch_1.pth', None])
    def test_wrong_name(self, check, training, content):
        pointer = training.work_dir / 'last_checkpoint'
        pointer.unlink() if content is None else pointer.write_text(content and f'{training.work_dir}/{content}')
        (problem,) = check(training.look())
        assert problem.endswith('; before, it named the checkpoint of step 4')


@pytest.mark.parametrize(
    ('first', 'second', 'names'),
    [
        (dict(a=[torch.ones(2), dict(b=float('nan'))]), dict(a=[torch.ones(2), dict(b=float('nan'))]), []),
        (dict(a=[torch.ones(2), 1]), dict(a=[torch.ones(2) + 2**-23, 1]), ['x.a.0']),
        (dict(a=torch.ones(2)), dict(a=torch.ones(2).double()), ['x.a']),
        (dict(a=1, b=2), dict(a=1.0, c=2), ['x.a', 'x.b', 'x.c']),
        (dict(a=[1]), dict(a=[1, 2]), ['x.a']),
    ],
)
def test_differences(kill_training, first, second, names):
    assert kill_training.differences(first, second, 'x') == names


def test_logs(kill_training, tmp_path):
    """What was computed twice has to be equal each time; a cut last line is left out."""
    line = '{"loss": %s, "time": %s, "step": %s}\n'
    trainings = []
    for name, starts in dict(
        whole=[line % (3, 0.1, 1) + line % (2, 0.1, 2)],
        equal=[line % (3, 0.2, 1), line % (3, 0.3, 1) + line % (2, 0.1, 2) + '{"loss": 1'],
        other=[line % (3.5, 0.2, 1)],
    ).items():
        for i, text in enumerate(starts):
            folder = tmp_path / f'{name}/2026010{i}_000000/vis_data'
            folder.mkdir(parents=True)
            (folder / 'scalars.json').write_text(text)
        trainings.append(kill_training.Training('some_config.py', [], tmp_path / name))
    whole, equal, other = trainings
    assert kill_training.compare_logs(whole, equal) == []
    assert kill_training.compare_logs(whole, other) == ['iteration of step 1.loss', 'step 2 was never logged']


@pytest.mark.parametrize(
    ('config', 'args', 'message'),
    [
        (__file__, ['--kills', '0'], '--kills 0: expected at least 1'),
        (__file__, [], '{} exists; remove it'),
        ('nowhere/config.py', [], 'error: nowhere/config.py: no such file; expected the path of a config'),
    ],
)
def test_bad_arguments(kill_training, tmp_path, capsys, config, args, message):
    with pytest.raises(SystemExit):
        kill_training.main([config, '--work-dir', str(tmp_path), *args])
    assert message.format(tmp_path) in capsys.readouterr().err


def test_no_folder_without_a_config(kill_training, tmp_path):
    with pytest.raises(SystemExit):
        kill_training.main(['nowhere/config.py', '--work-dir', str(tmp_path / 'killed')])
    assert not (tmp_path / 'killed').exists()
