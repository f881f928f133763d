r"""Kills a training at random moments, resumes it each time, and compares the end with an undisturbed training.

    python tools/misc/make_shapes.py --out data/few_shapes --train 8 --val 4
    D=data/few_shapes
    python tools/misc/kill_training.py configs/thundernet/thundernet_snet49_1xb8-5e_shapes.py \
        --kills 50 --work-dir work_dirs/kills \
        --cfg-options train_cfg.max_epochs=30 train_cfg.val_interval=1 param_scheduler.1.end=30 \
        train_dataloader.batch_size=4 {train,val,test}_dataloader.dataset.data_root=$D/ \
        {val,test}_dataloader.dataset.ann_file=annotations/train.json \
        {val,test}_dataloader.dataset.data_prefix.img=train/ {val,test}_evaluator.ann_file=$D/annotations/train.json

``mim train mmdet CONFIG`` runs once undisturbed in WORK_DIR/whole. The same training then runs in WORK_DIR/killed,
where all its processes get SIGKILL at moments spread over the run: while it starts, computes an iteration, writes its
log, writes a checkpoint, or names it, removes old ones and validates. ``mim train mmdet CONFIG --resume`` goes on.
After each kill

- every checkpoint loads, without executing anything in it;
- the newest checkpoint is not older than any seen before the kill;
- ``last_checkpoint`` names a checkpoint that is there and no older than the one it named before,
- the best checkpoint that this one knows of, with ``save_best``, is there.

At the end every line of the logs (losses, learning rates, validations), the last checkpoint's weights, optimizer,
schedulers and random states, and the AP by ``mim test`` have to equal the undisturbed training's, bit for bit. Exits
with status 1 if anything is not so. They are equal for a config with a seed, on one CPU process.
"""

import argparse
import fcntl
import json
import math
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, TextIO

import torch

from mmthunder.utils.mmdet_distribution import mmdet_distribution

# How many of ten kills fall into each stage of a training.
STAGES = {'start': 2, 'iteration': 2, 'log': 1, 'checkpoint': 3, 'after checkpoint': 2}
# What two equal runs may log differently.
TIMES = ('time', 'data_time', 'memory')
COMPARED = ('state_dict', 'optimizer', 'param_schedulers', 'random_state')


class Look(NamedTuple):
    """What a training's folder shows at one moment."""

    step: int  # iterations that the present start has reached, by its log
    log_size: int  # bytes that this start has logged
    partial: bool  # whether a checkpoint is being written
    checkpoints: FrozenSet[str]  # names of those that are complete


def launch(command: List[str], output: TextIO) -> subprocess.Popen:
    """Start a command in a process group of its own, since mim starts further processes."""
    return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


class Training:
    """A training that is started, killed and resumed.

    Args:
        config (str): Path of the config.
        options (list[str]): Overrides of the config, as after ``--cfg-options``.
        work_dir (Path): Folder of the training; its output goes to a file beside it.
    """

    def __init__(self, config: str, options: List[str], work_dir: Path) -> None:
        self.config = config
        self.options = ['--cfg-options', 'default_hooks.logger.interval=1', *options]
        self.work_dir = work_dir
        self.output = work_dir.with_suffix('.txt')
        self.process: Optional[subprocess.Popen] = None
        self.earlier_starts: FrozenSet[str] = frozenset()

    def start(self, *command: str) -> None:
        """Start a command of mim, with mmdet, the config and the options."""
        self.earlier_starts = frozenset(path.parts[-3] for path in self.logs())
        words = [sys.executable, '-m', 'mim', command[0], mmdet_distribution(), self.config, *command[1:]]
        words += self.options
        with open(self.output, 'a') as output:
            fcntl.flock(output, fcntl.LOCK_EX)  # held by all processes that inherit the file
            self.process = launch(words, output)

    def train(self, resume: bool = False) -> None:
        """Start the training."""
        self.start('train', '--work-dir', str(self.work_dir), *(['--resume'] if resume else []))

    def test(self) -> Dict[str, float]:
        """Test the last checkpoint; returns the metrics."""
        out = self.work_dir / 'test'
        self.start('test', '--checkpoint', str(self.last_checkpoint()), '--work-dir', str(out))
        self.end()
        return json.loads(max(out.glob('*/*.json')).read_text())

    def kill(self) -> None:
        """Kill all processes of the command, and wait until they are gone."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        with open(self.output) as output:
            fcntl.flock(output, fcntl.LOCK_EX)

    def end(self) -> None:
        """Wait for the command's end.

        Raises:
            RuntimeError: If it failed.
        """
        if self.process.wait():
            raise RuntimeError(f'failed by itself (exit status {self.process.returncode}); see {self.output}')

    def wait(self, condition: Callable[[Look], Any], pause: float = 0.05) -> bool:
        """Wait until the folder looks as wanted, looking every ``pause`` seconds.

        Returns:
            bool: Whether it does; otherwise the command has ended.
        """
        while self.process.poll() is None:
            if condition(self.look()):
                return True
            time.sleep(pause)
        return False

    def logs(self) -> List[Path]:
        """List the files of logged values, one for each start that came to log any."""
        return sorted(self.work_dir.glob('[0-9]*/vis_data/scalars.json'))

    def checkpoints(self) -> Dict[Path, dict]:
        """Load all checkpoints.

        Raises:
            ValueError: If one cannot be loaded.
        """
        checkpoints = {}
        for path in sorted(self.work_dir.glob('*.pth')):
            try:
                checkpoints[path] = torch.load(path, map_location='cpu', weights_only=True)
            except Exception as error:  # whatever damaged bytes lead to
                raise ValueError(f'{path} does not load: {type(error).__name__}: {error}'.split('\n')[0]) from error
        return checkpoints

    def look(self) -> Look:
        """Look into the folder."""
        names = os.listdir(self.work_dir) if self.work_dir.exists() else []
        present = self.work_dir / max((name for name in names if name[0].isdigit()), default='none')
        step = log_size = 0
        if present.name not in self.earlier_starts:
            for log in present.glob('vis_data/scalars.json'):
                step = max((line['step'] for line in log_lines(log) if 'loss' in line), default=0)
                log_size += log.stat().st_size
            log_size += sum(log.stat().st_size for log in present.glob('*.log'))
        return Look(
            step=step,
            log_size=log_size,
            partial=any(name.endswith('.pth.partial') for name in names),
            checkpoints=frozenset(name for name in names if name.endswith('.pth')),
        )

    def last_checkpoint(self) -> Optional[Path]:
        """Read which checkpoint resuming starts from."""
        pointer = self.work_dir / 'last_checkpoint'
        return Path(pointer.read_text()) if pointer.exists() else None


def log_lines(path: Path) -> Iterator[dict]:
    """Read logged values, but for a last line that a kill, or reading while it was written, has cut off."""
    lines = path.read_text().split('\n')
    for line in lines[:-1]:
        yield json.loads(line)


def measure(training: Training) -> Dict[str, float]:
    """Watch an undisturbed training.

    Returns:
        dict[str, float]: Seconds that each of the stages takes.
    """
    seconds: Dict[str, List[float]] = {stage: [] for stage in STAGES}
    begun = dict(start=time.time())
    old = Look(0, 0, False, frozenset())

    def end(stage: str, now: float) -> None:
        if stage in begun:
            seconds[stage].append(now - begun.pop(stage))

    def watch(look: Look) -> None:
        nonlocal old
        now = time.time()
        if look.step != old.step:
            for stage in ('start', 'iteration', 'after checkpoint'):
                end(stage, now)
            begun['iteration'] = now
        if look.partial and not old.partial:
            begun['checkpoint'] = now
        if old.partial and not look.partial:
            end('checkpoint', now)
        if look.checkpoints - old.checkpoints:
            begun.pop('iteration', None)
            begun['after checkpoint'] = now
        old = look

    training.wait(watch, pause=0.01)
    end('after checkpoint', time.time())
    training.end()
    return {stage: statistics.median(values) if values else 0.0 for stage, values in seconds.items()}


def reach(training: Training, stage: str, step: float) -> bool:
    """Wait until a training has done some steps and then begins a stage.

    Returns:
        bool: Whether it came to that; otherwise the training has ended.
    """
    if stage == 'start':
        return True
    if not training.wait(lambda look: look.step >= step):
        return False
    before = training.look()
    begins = {
        'iteration': lambda look: True,
        'log': lambda look: look.log_size != before.log_size,
        # A busy machine may let a short writing go unseen; its end is seen in any case.
        'checkpoint': lambda look: look.partial or look.checkpoints - before.checkpoints,
        'after checkpoint': lambda look: look.checkpoints - before.checkpoints,
    }
    return training.wait(begins[stage], pause=0.005)


class Check:
    """What has to hold after each kill.

    Args:
        training (Training): The training.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self.newest = 0  # step of the newest checkpoint that was ever found
        self.named = 0  # step of the checkpoint that ``last_checkpoint`` named last

    def __call__(self, seen: Look) -> List[str]:
        """Check the folder.

        Args:
            seen (Look): The last look before the kill.

        Returns:
            list[str]: What is wrong.
        """
        try:
            checkpoints = self.training.checkpoints()
        except ValueError as error:
            return [str(error)]
        # The best checkpoint is not to be resumed from.
        steps = {
            path: checkpoint['meta']['iter']
            for path, checkpoint in checkpoints.items()
            if not path.name.startswith('best_')
        }
        problems = [f'{path}: has no {key}' for path in steps for key in COMPARED if key not in checkpoints[path]]
        last = self.training.last_checkpoint()
        newest, named = max(steps.values(), default=0), steps.get(last, 0)
        if newest < self.newest:
            problems.append(f'the checkpoint of step {self.newest} is lost; the newest is of step {newest}')
        # While one is written and named, the oldest may go; the newest seen must be there.
        gone = sorted(seen.checkpoints - {path.name for path in checkpoints}, key=number)
        if gone and number(gone[-1]) > max((number(path.name) for path in steps), default=0):
            problems.append(f'{gone[-1]} is lost')
        if named < self.named or last is not None and last not in steps:
            problems.append(f'last_checkpoint names {last}; before, it named the checkpoint of step {self.named}')
        info = checkpoints[last]['message_hub']['runtime_info'] if last in steps else {}
        problems += [
            f'{path}, the best checkpoint, is lost'
            for key, path in info.items()
            if key.startswith('best_ckpt') and not Path(path).exists()
        ]
        self.newest, self.named = newest, named
        return problems


def number(name: str) -> int:
    """Read the epoch or iteration in the name of a checkpoint."""
    return int(re.findall(r'\d+', name)[-1])


def differences(first: Any, second: Any, name: str) -> List[str]:
    """Name the innermost parts in which two nested containers of tensors and values differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        keys = dict.fromkeys([*first, *second])
        return [found for key in keys for found in differences(first.get(key), second.get(key), f'{name}.{key}')]
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)) and len(first) == len(second):
        pairs = enumerate(zip(first, second))
        return [found for i, pair in pairs for found in differences(*pair, f'{name}.{i}')]
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        equal = first.dtype == second.dtype and torch.equal(first, second)
    else:
        equal = repr(first) == repr(second)  # not a number, the AP of a class without objects, is equal to itself, too
    return [] if equal else [name]


def compare_logs(whole: Training, killed: Training) -> List[str]:
    """Compare all that was logged; iterations that were computed again count each time.

    Returns:
        list[str]: What differs.
    """

    def values(training: Training) -> Iterator[tuple]:
        for path in training.logs():
            for line in log_lines(path):
                kind = 'iteration' if 'loss' in line else 'validation'
                yield (kind, line['step']), {key: value for key, value in line.items() if key not in TIMES}

    expected, seen = dict(values(whole)), Counter()
    problems = []
    for key, found in values(killed):
        seen[key] += 1
        problems += differences(found, expected.get(key), '{} of step {}'.format(*key))
    iterations = [key for key in expected if key[0] == 'iteration']
    # A validation that was killed is not repeated; its checkpoint is there, to be tested.
    problems += [f'step {step} was never logged' for kind, step in iterations if not seen[kind, step]]
    print(
        f'logs: {len(iterations)} iterations, computed {sum(seen[key] for key in iterations)} times in all, and '
        f'{len(expected) - len(iterations)} validations: {"DIFFERENT" if problems else "equal"}'
    )
    return problems


def compare_ends(whole: Training, killed: Training) -> List[str]:
    """Compare the last checkpoints and their AP.

    Returns:
        list[str]: What differs.
    """
    problems = []
    first, second = (torch.load(run.last_checkpoint(), weights_only=True) for run in (whole, killed))
    for key in COMPARED:
        found = differences(first[key], second[key], key)
        print(f'{key} of {killed.last_checkpoint().name}: {f"{len(found)} parts DIFFER" if found else "equal"}')
        problems += [f'differs at the end: {name}' for name in found]
    metrics = [run.test() for run in (whole, killed)]
    aps = [{key: value for key, value in found.items() if key not in TIMES} for found in metrics]
    different = differences(*aps, 'test')
    print(
        f'test: {", ".join(f"{key} {value}" for key, value in aps[1].items() if key.endswith(("mAP", "mAP_50")))}: '
        f'{"DIFFERENT" if different else "equal"}'
    )
    return problems + [f'differs at the end: {name}' for name in different]


def kill_all(training: Training, kills: int, rng: random.Random, seconds: Dict[str, float], steps: int) -> List[str]:
    """Train, with kills spread over the run.

    Args:
        training (Training): The training.
        kills (int): Number of kills.
        rng (random.Random): Source of randomness.
        seconds (dict[str, float]): Seconds that each stage takes.
        steps (int): Iterations among which the kills are spread.

    Returns:
        list[str]: What was found wrong.
    """
    stages = [stage for stage, share in STAGES.items() for _ in range(share)]
    plan = stages * math.ceil(kills / len(stages))
    rng.shuffle(plan)
    targets = sorted(rng.uniform(0, steps) for _ in range(kills))
    check, problems = Check(training), []
    begin, done, halves = time.time(), Counter(), Counter()
    for count, (stage, target) in enumerate(zip(plan, targets), 1):
        training.train(resume=True)
        if not reach(training, stage, target):
            training.end()
            problems.append(f'the training ended after {count - 1} kills; give it more epochs')
            break
        time.sleep(rng.random() * seconds[stage])
        seen = training.look()
        training.kill()
        found = check(seen)
        problems += [f'kill {count} ({stage}): {problem}' for problem in found]
        done[stage] += 1
        half = training.look().partial
        halves[stage] += half
        end = datetime.now() + timedelta(seconds=(time.time() - begin) / count * (kills - count))
        print(
            f'[{count}/{kills}] {stage}, step {seen.step}: {"; ".join(found) or "ok"}, last checkpoint of step '
            f'{check.named}{", a half-written file left" if half else ""}; expected end {end:%H:%M}',
            flush=True,
        )
    else:
        training.train(resume=True)
        training.end()
    print('\n| killed during | kills | checkpoints left half written |\n|---|---|---|')
    for stage in STAGES:
        print(f'| {stage} | {done[stage]} | {halves[stage]} |')
    print(f'| **all** | {sum(done.values())} | {sum(halves.values())} |\n')
    if training.look().partial:
        problems.append('a half-written file is left at the end')
    return problems


def main(argv: Optional[List[str]] = None) -> int:
    """Parse the command line, train undisturbed and killed, and compare.

    Returns:
        int: Number of problems.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config to train')
    parser.add_argument('--kills', type=int, default=50, help='number of kills')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/killed'), help='folder to make')
    parser.add_argument('--cfg-options', nargs='+', default=[], help="overrides of the config, as mmdet's")
    args = parser.parse_args(argv)
    if args.kills < 1:
        parser.error(f'--kills {args.kills}: expected at least 1')
    if not Path(args.config).is_file():
        parser.error(f'{args.config}: no such file; expected the path of a config')
    try:
        args.work_dir.mkdir(parents=True)
    except FileExistsError:
        parser.error(f'--work-dir {args.work_dir} exists; remove it or give another')
    begin = time.time()
    folder = args.work_dir.resolve()
    whole, killed = (Training(args.config, args.cfg_options, folder / name) for name in ('whole', 'killed'))
    try:
        print('training undisturbed ...', flush=True)
        whole.train()
        seconds = measure(whole)
        print(', '.join(f'{stage} {value:.2f} s' for stage, value in seconds.items()))
        steps = sorted({checkpoint['meta']['iter'] for checkpoint in whole.checkpoints().values()})
        if len(steps) < 2:
            parser.error('the training keeps fewer than two checkpoints; train longer, or save and keep more')
        # A kill near the end would leave nothing to resume.
        problems = kill_all(killed, args.kills, random.Random(args.seed), seconds, round(0.9 * steps[-2]))
        problems += compare_logs(whole, killed) + compare_ends(whole, killed)
    finally:
        for training in (whole, killed):
            if training.process is not None and training.process.poll() is None:
                training.kill()
    print(f'{time.time() - begin:.0f} s; {f"{len(problems)} problems:" if problems else "nothing lost"}')
    for problem in problems:
        print(f'- {problem}')
    return len(problems)


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the training as Ctrl-C does
    sys.exit(min(main(), 1))
