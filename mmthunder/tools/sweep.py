"""Train several configs with several seeds and collect the results in one table.

    python tools/sweep.py configs/thundernet/ablations/shapes/*.py --seeds 0 1 2 --work-dir work_dirs/sweep

A run is one config with one seed, in ``WORK_DIR/CONFIG/seedN``. It is trained by ``mim train``; ``mim test`` follows
where the training did not end with a validation. The directories of the runs are the only state: the same command
again skips what is done and resumes what was interrupted, which ``mim gridsearch`` does not.

After each run WORK_DIR has ``sweep.csv`` (one row per run), ``sweep.md`` (mean and standard deviation over the seeds)
and ``sweep.png`` (AP against MACs and against latency); ``--collect-only`` writes them at any time.

- AP is the last validation's, after the last training step; ``AP`` of Pascal VOC's metric is its mAP.
- Training time goes from the first to the last line of a run's logs: with validation, without interruptions.
- MACs and parameters are those of ``analysis_tools/complexity.py``.
- Latency is that of ``analysis_tools/benchmark_latency.py`` with random weights, a score threshold of 0.05 and one
  thread, measured in one process once all runs are done.
"""

import argparse
import fcntl
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pandas as pd
import torch
from matplotlib.figure import Figure
from mmengine.config import Config, DictAction
from tqdm import tqdm

from mmthunder.utils.mmdet_distribution import mmdet_distribution
from mmthunder.utils.training_log import LOG_TIME, scalar_lines

METRICS = dict(AP=('coco/bbox_mAP', 'pascal_voc/mAP'), AP50=('coco/bbox_mAP_50', 'pascal_voc/AP50'))
# What an AP depends on; the rest of a config says how to log, save and start.
DECISIVE_KEYS = (
    'model load_from train_dataloader train_cfg optim_wrapper param_scheduler randomness auto_scale_lr custom_hooks '
    'val_dataloader val_cfg val_evaluator test_dataloader test_cfg test_evaluator'
).split()
# The scripts that measure the configs, with their options and the columns of their tables that are read.
ANALYSES = dict(
    complexity=([], {'total MMACs': 'mmacs', 'total Mparams': 'mparams'}),
    benchmark_latency=('--threads 1 --score-thr 0.05 --baselines'.split(), {'median_ms': 'latency_ms'}),
)
# Columns of the summary, with their titles and decimals: those that differ between seeds and those that do not.
MEASURED = dict(AP=('AP', 3), AP50=('AP50', 3), train_minutes=('training (min)', 1))
COUNTED = dict(mmacs=('MMACs', 1), mparams=('params (M)', 2), latency_ms=('latency (ms)', 1))


class RunError(Exception):
    """Why a run failed."""


def differing_keys(first: Any, second: Any, key: str) -> List[str]:
    """List the innermost keys of two nested dicts whose values differ; ``key`` is the name of the dicts."""
    if isinstance(first, dict) and isinstance(second, dict):
        names = dict.fromkeys([*first, *second])
        return [found for name in names for found in differing_keys(first.get(name), second.get(name), f'{key}.{name}')]
    return [] if first == second else [key]


class Run:
    """One config with one seed; its state is read from its directory.

    Args:
        path (str): Path of the config.
        options (list[str]): Overrides of the config, as after ``--cfg-options``.
        seed (int): Seed of the run.
        work_dir (Path): Directory of the sweep.
    """

    def __init__(self, path: str, options: List[str], seed: int, work_dir: Path) -> None:
        self.path, self.config, self.seed = path, Path(path).stem, seed
        self.options = ['--cfg-options', *options, f'randomness.seed={seed}']
        parser = argparse.ArgumentParser()
        parser.add_argument('--cfg-options', nargs='+', action=DictAction)
        self.cfg = Config.fromfile(path, import_custom_modules=False)
        self.cfg.merge_from_dict(parser.parse_args(self.options).cfg_options)
        self.process: Optional[subprocess.Popen] = None
        self.stopped = False
        self.work_dir = work_dir / self.config / f'seed{seed}'
        self.output = self.work_dir / 'sweep_output.txt'
        self.dumped_config = self.work_dir / Path(path).name  # where mmengine writes the merged config
        unit = 'epoch' if 'max_epochs' in self.cfg.train_cfg else 'iter'
        self.last_checkpoint = self.work_dir / f'{unit}_{self.cfg.train_cfg[f"max_{unit}s"]}.pth'

    def __str__(self) -> str:
        return f'{self.config} seed {self.seed}'

    def checkpoint(self) -> Optional[Path]:
        """Return the checkpoint to resume from or to test; mmengine names it in a file after writing it."""
        pointer = self.work_dir / 'last_checkpoint'
        # The file has the path as of the training; the directory may have been moved since.
        checkpoint = self.work_dir / Path(pointer.read_text().strip()).name if pointer.exists() else None
        return checkpoint if checkpoint is not None and checkpoint.is_file() else None

    def is_trained(self) -> bool:
        """Whether the checkpoint of the last training step is there."""
        return self.checkpoint() == self.last_checkpoint

    def metrics(self) -> Dict[str, float]:
        """Read the AP after the last step, from the last validation or else the test; empty if there is none."""
        if not self.is_trained():
            return {}
        lines = scalar_lines(self.work_dir)
        tests = sorted(self.work_dir.glob('test/*/*.json'))
        # A text that was cut off by a kill has no brace at its end.
        results = [text for text in (path.read_text().rstrip() for path in tests) if text.endswith('}')]
        # A line of a training step has an 'iter', that of a validation has none. The 'step' of a validation counts
        # epochs by mmengine's default, also where the schedule counts iterations.
        result = json.loads(lines[-1]) if lines else dict(iter=0)
        if 'iter' in result:
            result = json.loads(results[-1]) if results else {}
        found = {column: result[key] for column, keys in METRICS.items() for key in keys if key in result}
        return found if 'AP' in found else {}

    def status(self) -> str:
        """Return 'done', 'unfinished' or 'not started'."""
        return 'done' if self.metrics() else 'unfinished' if self.work_dir.exists() else 'not started'

    def has_config(self) -> bool:
        """Whether mmengine has written the config; a kill while it was formatted leaves an empty file."""
        return self.dumped_config.exists() and self.dumped_config.stat().st_size > 0

    def changed_keys(self) -> List[str]:
        """List the decisive settings that differ between the config that the run was begun with and today's."""
        if not self.has_config():
            return []
        then = Config.fromfile(self.dumped_config, import_custom_modules=False)
        if then.get('resume'):  # 'load_from' is where it resumed
            then.load_from = self.cfg.get('load_from')
        return [name for key in DECISIVE_KEYS for name in differing_keys(then.get(key), self.cfg.get(key), key)]

    def train_minutes(self) -> Optional[float]:
        """Sum the minutes from the first to the last line of each start's log."""
        spans = []
        for path in self.work_dir.glob('[0-9]*/*.log'):
            times = re.findall(LOG_TIME, path.read_text(errors='replace'), re.M)
            spans += [pd.Timestamp(times[-1]) - pd.Timestamp(times[0])] if times else []
        return round(sum(span.total_seconds() for span in spans) / 60, 2) if spans else None

    def next_command(self) -> Optional[List[str]]:
        """Return mim's command that comes next; None if the run is done."""
        checkpoint = self.checkpoint()
        if not self.is_trained():
            name, words = 'train', ['--work-dir', self.work_dir, *(['--resume', checkpoint] if checkpoint else [])]
        elif not self.metrics():
            name, words = 'test', ['--checkpoint', checkpoint, '--work-dir', self.work_dir / 'test']
        else:
            return None
        mim = [sys.executable, '-m', 'mim', name, mmdet_distribution(), self.path]
        return [*mim, *map(str, words), *self.options]

    def train(self, device: Optional[str]) -> None:
        """Train and, if needed, test; ``device`` is the value of CUDA_VISIBLE_DEVICES, None leaves it as it is.

        Raises:
            RunError: If the run cannot be started, or a command fails.
        """
        changed = self.changed_keys()
        if changed:
            raise RunError(
                f'{self.work_dir} was begun with another config ({", ".join(changed)} differ); move the '
                'directory away to start anew, or undo the change to resume'
            )
        env = dict(os.environ) if device is None else dict(os.environ, CUDA_VISIBLE_DEVICES=device)
        self.work_dir.mkdir(parents=True, exist_ok=True)
        # The file is locked as long as a command writes to it, even if the sweep itself is killed, so that no second
        # process trains in the same directory.
        with open(self.output, 'a') as output:
            try:
                fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f'{self.work_dir} is being trained by another process') from None
            results = dict(train=self.last_checkpoint.name, test=' or '.join(METRICS['AP']))
            begun = set()
            for command in iter(self.next_command, None):
                step = command[3]
                if self.stopped or step in begun:
                    raise RunError('interrupted' if self.stopped else f'mim {step} ended without {results[step]}')
                begun.add(step)
                print(f'\n$ {shlex.join(command)}', file=output, flush=True)
                # A group of its own: mim starts further processes, which are to end with it.
                options = dict(stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)
                self.process = subprocess.Popen(command, stdout=output, env=env, **options)
                if self.process.wait():
                    raise RunError(f'{self.error()} (exit status {self.process.returncode})')

    def stop(self) -> None:
        """End the processes of the command, if one is running, and start no other."""
        self.stopped = True
        if self.process is not None and self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGTERM)

    def error(self) -> str:
        """Return the message of the exception that ended the last command."""
        output = self.output.read_text(errors='replace').rpartition('\n$ ')[-1]
        errors = re.findall(r'^(?!subprocess\.Called)(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*$', output, re.M)
        return errors[-1] if errors else 'ended without an error message'


def visible_devices() -> Dict[str, str]:
    """Map 'cpu' and 'cuda:N', counted among the visible devices, to the CUDA_VISIBLE_DEVICES that shows it alone."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    names = visible.split(',') if visible else map(str, range(torch.cuda.device_count()))
    return {'cpu': '', **{f'cuda:{number}': name for number, name in enumerate(names)}}


def train(runs: List[Run], devices: List[Optional[str]], collect: Callable[[], object]) -> Dict[Run, str]:
    """Train the runs that are not done, one at a time on each device.

    Args:
        runs (list[Run]): The runs.
        devices (list[str, optional]): See :meth:`Run.train`.
        collect (Callable): Called after each run.

    Returns:
        dict[Run, str]: Errors of the runs that failed.
    """
    pending = [run for run in runs if run.status() != 'done']
    print(f'{len(runs) - len(pending)} of {len(runs)} runs are done already')
    failed: Dict[Run, str] = {}
    bar, lock, waiting = tqdm(desc='runs', total=len(pending), disable=not pending), threading.Lock(), iter(pending)

    def work(device: Optional[str]) -> None:
        for run in waiting:
            tqdm.write(f'{run}: training, output in {run.output}')
            try:
                run.train(device)
                tqdm.write(f'{run}: done, AP {run.metrics()["AP"]:.3f}')
            except RunError as error:
                failed[run] = f'{error}; see {run.output}'
                tqdm.write(f'{run}: FAILED: {failed[run]}')
            bar.update()
            with lock:
                collect()

    with ThreadPoolExecutor(len(devices)) as pool, bar:
        try:
            list(pool.map(work, devices))
        except BaseException:
            for run in [*waiting, *pending]:  # no further run begins
                run.stop()
            raise
    return failed


def analyse(script: str, runs: List[Run], out: Path) -> None:
    """Run one of :data:`ANALYSES` on the configs of the runs, unless its table has them all."""
    configs = {run.config: str(run.dumped_config) for run in runs if run.has_config()}
    table = out / f'{script}.csv'
    if not table.exists() or not configs.keys() <= set(pd.read_csv(table, index_col=0).index):
        print(f'{script}.py on {len(configs)} configs ...', flush=True)
        module = f'mmthunder.tools.analysis_tools.{script}'
        subprocess.run([sys.executable, '-m', module, *configs.values(), '--csv', str(table), *ANALYSES[script][0]])


def collect(runs: List[Run], out: Path) -> str:
    """Write ``sweep.csv``, ``sweep.md`` and ``sweep.png`` to a directory; return the summary in Markdown."""
    rows = pd.DataFrame(
        dict(
            config=run.config,
            seed=run.seed,
            status=run.status(),
            **dict(dict.fromkeys(METRICS), **run.metrics()),
            train_minutes=run.train_minutes(),
            work_dir=run.work_dir,
        )
        for run in runs
    )
    for script, (_, columns) in ANALYSES.items():
        path = out / f'{script}.csv'
        table = pd.read_csv(path, index_col=0) if path.exists() else pd.DataFrame()
        rows = rows.join(table.reindex(columns=columns).rename(columns=columns), on='config')
    rows.to_csv(out / 'sweep.csv', index=False)
    text = summarise(rows).to_markdown(index=False, disable_numparse=True)
    (out / 'sweep.md').write_text(f'{text}\n')
    plot(rows, out / 'sweep.png')
    return text


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Tabulate mean and standard deviation over the finished seeds of each config."""

    def cell(values: pd.Series, decimals: int) -> str:
        spread = f' ± {values.std():.{decimals}f}' if values.count() > 1 else ''
        return f'{values.mean():.{decimals}f}{spread}' if values.count() else '-'

    summary = []
    for config, runs in rows.groupby('config', sort=False):
        done = runs[runs.status == 'done']
        row = dict(config=config, seeds=len(runs) if len(done) == len(runs) else f'{len(done)} of {len(runs)}')
        row.update({title: cell(done[column], decimals) for column, (title, decimals) in MEASURED.items()})
        row.update({title: cell(runs[column][:1], decimals) for column, (title, decimals) in COUNTED.items()})
        summary.append(row)
    return pd.DataFrame(summary)


def plot(rows: pd.DataFrame, path: Path) -> None:
    """Draw AP against MACs and against latency, with the standard deviation over the seeds."""
    figure = Figure(figsize=(12, 5), layout='constrained')
    panels = figure.subplots(1, 2, sharey=True)
    for number, (config, runs) in enumerate(rows.dropna(subset=['AP']).groupby('config', sort=False)):
        style = dict(color=f'C{number % 10}', fmt='osD^vPX<>*'[number // 10 % 10], capsize=3, label=config)
        for axes, column in zip(panels, ('mmacs', 'latency_ms')):
            axes.errorbar(runs[column].iloc[:1], runs.AP.mean(), runs.AP.std() if len(runs) > 1 else 0, **style)
            axes.set_xlabel(COUNTED[column][0])
            axes.grid(alpha=0.3)
    panels[0].set_ylabel('AP')
    figure.suptitle('mean and standard deviation over the seeds', fontsize='medium')
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside right upper', fontsize='small')
    figure.savefig(path, dpi=120)


def main(argv: Optional[List[str]] = None) -> int:
    """Parse the command line, train and collect; return 1 if a run failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('configs', nargs='+', help='configs to train')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='seeds of each config')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/sweep'), help='directory of runs and tables')
    devices = visible_devices()
    parser.add_argument(
        '--devices', nargs='+', choices=devices, default=[], help='train on these in parallel; by default on one'
    )
    parser.add_argument('--cfg-options', nargs='+', default=[], help="overrides of all configs, as mmdet's")
    parser.add_argument('--collect-only', action='store_true', help='write the tables of what is there, train nothing')
    args = parser.parse_args(argv)
    runs: Dict[str, Run] = {}
    for path, seed in itertools.product(args.configs, args.seeds):
        try:
            run = Run(path, args.cfg_options, seed, args.work_dir)
        except (OSError, SyntaxError, AttributeError, KeyError, TypeError) as error:
            parser.error(f'{path}: {error}; give configs of mmengine with a train_cfg')
        if runs.setdefault(str(run), run) is not run:
            parser.error(f'given twice: {run}; names of configs and seeds must differ, since directories have them')
    runs = list(runs.values())
    args.work_dir.mkdir(parents=True, exist_ok=True)

    failed: Dict[Run, str] = {}
    if not args.collect_only:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the commands as Ctrl-C does
        used = [devices[name] for name in args.devices] or [None]
        if any(run.status() != 'done' for run in runs):  # what was measured may be of earlier configs
            [(args.work_dir / f'{script}.csv').unlink(missing_ok=True) for script in ANALYSES]
        try:
            failed = train(runs, used, lambda: collect(runs, args.work_dir))
        except KeyboardInterrupt:
            print('\ninterrupted; the same command resumes')
            return 1
    for script in ('complexity',) if args.collect_only else ANALYSES:
        analyse(script, runs, args.work_dir)
    print(f'\n{collect(runs, args.work_dir)}\n\nwrote sweep.csv, sweep.md and sweep.png to {args.work_dir}')
    for run in runs:
        keys = run.changed_keys()
        if keys:
            print(f'{run}: trained with another config than now ({", ".join(keys)} differ); move {run.work_dir} away')
    for run, error in failed.items():
        print(f'FAILED: {run}: {error}')
    return int(bool(failed))


if __name__ == '__main__':
    sys.exit(main())
