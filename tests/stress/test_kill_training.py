"""A training that is killed at random moments and resumed ends as one that was never disturbed, bit for bit.

    python -m pytest tests/stress -m stress --kills 50

``mim train`` runs once undisturbed. The same training then runs again, and all its processes get SIGKILL at moments
spread over the run: while it starts, computes an iteration, writes a checkpoint, and names it, removes old ones and
validates. After each kill the checkpoints are looked at, and ``mim train --resume`` goes on.
"""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
import torch
from mmengine.config import Config

from mmthunder.utils.mmdet_distribution import mmdet_distribution

pytestmark = [
    pytest.mark.stress,
    pytest.mark.timeout(0),  # as long as the kills take
    pytest.mark.skipif(not hasattr(os, 'killpg'), reason='kills process groups'),
]

# Stages of a training: how many of ten kills fall into each, and how long it may go on before the kill, in seconds.
STAGES = {'start': (2, 15.0), 'iteration': (3, 0.5), 'checkpoint': (3, 0.02), 'after checkpoint': (2, 0.5)}
TIMES = ('time', 'data_time', 'memory')  # what two equal runs log differently
COMPARED = ('state_dict', 'optimizer', 'param_schedulers', 'random_state')


class Training:
    """A training that is started, killed and resumed.

    Args:
        config (Path): The config.
        work_dir (Path): Directory of the training; its output goes to a file beside it.
    """

    def __init__(self, config: Path, work_dir: Path) -> None:
        self.config, self.work_dir, self.output = config, work_dir, work_dir.with_suffix('.txt')

    def start(self, command: str, *options: str) -> None:
        """Start a command of mim in a process group of its own, since mim starts further processes."""
        words = [sys.executable, '-m', 'mim', command, mmdet_distribution(), str(self.config), *options]
        with open(self.output, 'a') as output:
            fcntl.flock(output, fcntl.LOCK_EX)  # held by all processes that inherit the file
            self.process = subprocess.Popen(words, stdout=output, stderr=output, start_new_session=True)

    def train(self, *options: str) -> None:
        """Start the training."""
        self.start('train', '--work-dir', str(self.work_dir), *options)

    def kill(self) -> None:
        """Kill all processes, and wait until they are gone."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        with open(self.output) as output:
            fcntl.flock(output, fcntl.LOCK_EX)

    def end(self) -> None:
        """Wait for the end of the command, which has to be a good one."""
        assert self.process.wait() == 0, self.output.read_text()[-3000:]

    def wait(self, condition: Callable[[], Any]) -> None:
        """Wait until something is so."""
        while not condition():
            assert self.process.poll() is None, f'ended too early: {self.output.read_text()[-3000:]}'
            time.sleep(0.002)

    def reach(self, stage: str, step: float) -> None:
        """Wait until the training, just started, has done some iterations and then begins a stage."""
        if stage == 'start':
            return
        earlier = self.logs()
        self.wait(lambda: any(line['step'] >= step for line in self.log_lines(self.logs()[len(earlier) :])))
        before = self.checkpoints()
        begins = {
            'iteration': lambda: True,
            # A busy machine may let a short writing go unseen; its end is seen in any case.
            'checkpoint': lambda: any(self.work_dir.glob('.*.pth.partial')) or self.checkpoints() - before,
            'after checkpoint': lambda: self.checkpoints() - before,
        }
        self.wait(begins[stage])

    def logs(self) -> List[Path]:
        """Return the files of logged values, one for each start that logged any."""
        return sorted(self.work_dir.glob('[0-9]*/vis_data/scalars.json'))

    def log_lines(self, paths: List[Path]) -> Iterator[dict]:
        """Read the logged values, except a last line that was cut off."""
        for path in paths:
            for line in path.read_text().split('\n')[:-1]:
                yield json.loads(line)

    def logged(self) -> Iterator[Tuple[tuple, dict]]:
        """Read what was logged of each iteration and validation, in all starts."""
        for line in self.log_lines(self.logs()):
            key = ('iteration' if 'loss' in line else 'validation', line['step'])
            yield key, {name: value for name, value in line.items() if name not in TIMES}

    def checkpoints(self) -> set:
        """Return the names of the checkpoints to resume from."""
        return {path.name for path in self.work_dir.glob('epoch_*.pth')}

    def last_checkpoint(self) -> Path:
        """Return the checkpoint that a resumed training starts from."""
        return Path((self.work_dir / 'last_checkpoint').read_text())


def load(path: Path) -> dict:
    """Load a checkpoint without executing anything in it."""
    return torch.load(path, map_location='cpu', weights_only=True)


def leaves(value: Any, key: str = '') -> Iterator[Tuple[str, Any]]:
    """Walk through nested containers; tensors are given by their bytes."""
    if isinstance(value, (dict, list, tuple)):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, f'{key}.{name}')
    else:
        yield key, (value.dtype, value.numpy().tobytes()) if isinstance(value, torch.Tensor) else repr(value)


def differing(first: dict, second: dict) -> List[str]:
    """List the keys of two nested dicts whose values differ in any bit."""
    first, second = dict(leaves(first)), dict(leaves(second))
    return [key for key in {**first, **second} if first.get(key) != second.get(key)]


def epoch(name: str) -> int:
    return int(name[len('epoch_') : -len('.pth')])


def check(training: Training, seen: set, named: int) -> int:
    """Check the directory after a kill.

    Args:
        training (Training): The training.
        seen (set[str]): Names of checkpoints that were complete before the kill.
        named (int): Epoch of the checkpoint that ``last_checkpoint`` named after the kill before.

    Returns:
        int: Epoch of the checkpoint that it names now.
    """
    checkpoints = {path.name: load(path) for path in training.work_dir.glob('*.pth')}
    ordinary = {epoch(name): state for name, state in checkpoints.items() if name.startswith('epoch_')}
    for number, state in ordinary.items():
        assert set(COMPARED) <= set(state), f'epoch_{number}.pth is incomplete'
    # While one is written and named, the oldest may go; the newest seen must be there.
    assert max(map(epoch, seen), default=0) <= max(ordinary, default=0), f'of {seen} only {set(ordinary)} are left'
    if not (training.work_dir / 'last_checkpoint').exists():
        assert named == 0, 'last_checkpoint is lost'
        return 0
    last = epoch(training.last_checkpoint().name)
    assert last >= named and last in ordinary, f'last_checkpoint names epoch {last}, before it named {named}'
    best = ordinary[last]['message_hub']['runtime_info'].get('best_ckpt')
    assert best is None or Path(best).exists(), f'the best checkpoint {best} is lost'
    return last


@pytest.fixture
def trainings(tiny_cfg: Config, kills: int, tmp_path: Path) -> Iterator[Dict[str, Training]]:
    """Two trainings of 2 iterations per epoch, with a checkpoint and a validation after each and the best kept."""
    tiny_cfg.train_dataloader.dataset.indices = 4
    tiny_cfg.train_cfg.update(max_epochs=kills + 4, val_interval=1)
    tiny_cfg.default_hooks.checkpoint.save_best = 'coco/bbox_mAP'
    tiny_cfg.default_hooks.logger.interval = 1
    for loader in (tiny_cfg.train_dataloader, tiny_cfg.val_dataloader, tiny_cfg.test_dataloader):
        loader.num_workers = 0
    tiny_cfg.pop('work_dir')
    tiny_cfg.dump(tmp_path / 'tiny.py')
    trainings = {name: Training(tmp_path / 'tiny.py', tmp_path / name) for name in ('undisturbed', 'killed')}
    yield trainings
    for training in trainings.values():
        if hasattr(training, 'process'):
            training.kill()


def test_killed_is_undisturbed(trainings: Dict[str, Training], kills: int) -> None:
    undisturbed, killed = trainings.values()
    undisturbed.train()
    undisturbed.end()
    expected = dict(undisturbed.logged())
    steps = max(step for kind, step in expected if kind == 'iteration')

    rng = random.Random(0)
    plan = [stage for stage, (share, _) in STAGES.items() for _ in range(share)] * (kills // 10 + 1)
    rng.shuffle(plan)
    # A kill near the end would leave nothing to resume.
    targets = sorted(rng.uniform(0, steps - 6) for _ in range(kills))
    named = partial = 0
    for number, (stage, target) in enumerate(zip(plan, targets), 1):
        killed.train('--resume')
        killed.reach(stage, target)
        time.sleep(rng.uniform(0, STAGES[stage][1]))
        seen = killed.checkpoints()
        killed.kill()
        named = check(killed, seen, named)
        half = any(killed.work_dir.glob('.*.partial'))
        partial += half
        left = ', a half-written file left' if half else ''
        print(f'[{number}/{kills}] {stage}: last checkpoint of epoch {named}{left}', flush=True)
    killed.train('--resume')
    killed.end()
    print(f'{partial} of {kills} kills left a half-written file')

    assert not any(killed.work_dir.glob('.*.partial'))
    logged = list(killed.logged())
    assert [key for key, values in logged if values != expected[key]] == []
    # A validation that was killed is not repeated; its checkpoint is there to be tested.
    assert {key for key in expected if key[0] == 'iteration'} <= {key for key, _ in logged}
    first, second = (load(training.last_checkpoint()) for training in (undisturbed, killed))
    assert [key for name in COMPARED for key in differing({name: first[name]}, {name: second[name]})] == []
    results = []
    for training in (undisturbed, killed):
        test_dir = training.work_dir / 'test'
        training.start('test', '--checkpoint', str(training.last_checkpoint()), '--work-dir', str(test_dir))
        training.end()
        results.append(json.loads(max(test_dir.glob('*/*.json')).read_text()))
    assert {key: value for key, value in results[0].items() if key not in TIMES} == {
        key: value for key, value in results[1].items() if key not in TIMES
    }
