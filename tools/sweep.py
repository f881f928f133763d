"""Trains several configs with several seeds and collects the results in one table.

    python tools/sweep.py configs/thundernet/ablations/shapes/*.py --seeds 0 1 2 --work-dir work_dirs/sweep

A run is one config with one seed, in ``WORK_DIR/CONFIG/seedN``. Runs are trained one after another, or one on each of
``--devices``, by ``mim train mmdet``; ``mim test mmdet`` follows where the training did not end with a validation. The
folders of the runs are the only state: the same command again skips what is done and resumes what was interrupted.

After each run WORK_DIR has ``sweep.csv`` (one row a run), ``sweep.md`` (mean and standard deviation over the seeds)
and ``sweep.png`` (AP against MACs and against latency); ``--collect-only`` writes them at any time.

- AP is the last validation's, after the last training step; ``AP`` of Pascal VOC's metric is its mAP.
- Training time goes from the first to the last line of a run's logs: with validation, without interruptions.
- MACs and parameters come from ``analysis_tools/complexity.py``.
- Latency comes from ``analysis_tools/benchmark_latency.py`` with random weights, a score threshold of 0.05, one thread
  and all configs in one process, once all runs are done.
"""

import argparse
import copy
import csv
import fcntl
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, TextIO, Tuple

import matplotlib
import torch
from mmengine.config import Config, DictAction

from mmthunder.utils.mmdet_distribution import mmdet_distribution

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402

ANALYSIS_TOOLS = Path(__file__).resolve().parent / 'analysis_tools'
METRICS = dict(AP=('coco/bbox_mAP', 'pascal_voc/mAP'), AP50=('coco/bbox_mAP_50', 'pascal_voc/AP50'))
# What an AP depends on; the rest of a config says how to log, save and start.
DECISIVE_KEYS = (
    'model',
    'load_from',
    'train_dataloader',
    'train_cfg',
    'optim_wrapper',
    'param_scheduler',
    'randomness',
    'auto_scale_lr',
    'custom_hooks',
    'val_dataloader',
    'val_cfg',
    'val_evaluator',
    'test_dataloader',
    'test_cfg',
    'test_evaluator',
)
COLUMNS = (
    'config',
    'seed',
    'status',
    'progress',
    'AP',
    'AP50',
    'train_minutes',
    'mmacs',
    'mparams',
    'latency_ms',
    'work_dir',
)


class RunError(Exception):
    """Why a run failed."""


class CfgOptions(DictAction):
    """mmengine's parser of ``--cfg-options`` that also keeps the words, for the commands that are called."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: List[str],
        option_string: Optional[str] = None,
    ) -> None:
        """Store the parsed options and the words."""
        super().__call__(parser, namespace, values, option_string)
        namespace.cfg_words = values


def differing_keys(first: Any, second: Any, key: str) -> List[str]:
    """Name the innermost keys of two nested dicts whose values differ; ``key`` is the name of the dicts."""
    if isinstance(first, dict) and isinstance(second, dict):
        names = dict.fromkeys([*first, *second])
        return [found for name in names for found in differing_keys(first.get(name), second.get(name), f'{key}.{name}')]
    return [] if first == second else [key]


def whole_objects(texts: Iterable[str]) -> Iterator[dict]:
    """Parse JSON texts but for those that were cut off when the run was killed."""
    for text in texts:
        try:
            yield json.loads(text)
        except json.JSONDecodeError:
            pass


class Run:
    """One config with one seed; everything it knows is read from its folder.

    Args:
        path (str): Path of the config.
        cfg (Config): The config.
        options (dict): Overrides of the config.
        words (list[str]): The same overrides as on a command line.
        seed (int): Seed of the run.
        work_dir (Path): Folder of the sweep.
    """

    def __init__(
        self, path: str, cfg: Config, options: Dict[str, Any], words: List[str], seed: int, work_dir: Path
    ) -> None:
        self.path = path
        self.config = Path(path).stem
        self.seed = seed
        self.cfg = copy.deepcopy(cfg)
        self.cfg.merge_from_dict(dict(options, **{'randomness.seed': seed}))
        self.options = [*words, f'randomness.seed={seed}']
        self.work_dir = work_dir / self.config / f'seed{seed}'
        self.output = self.work_dir / 'sweep_output.txt'
        # mmengine writes the whole config there.
        self.dumped_config = self.work_dir / Path(path).name
        self.unit = 'epoch' if 'max_epochs' in self.cfg.train_cfg else 'iter'
        self.steps = self.cfg.train_cfg[f'max_{self.unit}s']

    def __str__(self) -> str:
        return f'{self.config} seed {self.seed}'

    def checkpoint(self) -> Optional[Path]:
        """Find the last whole checkpoint; mmengine names it in a file after writing it."""
        pointer = self.work_dir / 'last_checkpoint'
        # The file has the path as of the training; the folder may have been moved since.
        checkpoint = self.work_dir / Path(pointer.read_text().strip()).name if pointer.exists() else None
        return checkpoint if checkpoint is not None and checkpoint.is_file() else None

    def is_trained(self) -> bool:
        """Whether the checkpoint of the last training step is there."""
        checkpoint = self.checkpoint()
        return checkpoint is not None and checkpoint.name == f'{self.unit}_{self.steps}.pth'

    def scalars(self) -> List[dict]:
        """Read what mmengine logged, in order, of all starts."""
        paths = sorted(self.work_dir.glob('*/vis_data/scalars.json'))
        return [line for path in paths for line in whole_objects(path.read_text().splitlines())]

    def progress(self) -> float:
        """Share of the training that is done, in whole epochs or logged iterations."""
        if self.is_trained():
            return 1.0
        steps = [
            line['iter'] if self.unit == 'iter' else line['epoch'] - 1 for line in self.scalars() if 'iter' in line
        ]
        return steps[-1] / self.steps if steps else 0.0

    def metrics(self) -> Dict[str, float]:
        """Read the AP after the last step: of the last validation, else of the test."""
        if not self.is_trained():
            return {}
        # Training steps have an 'iter', validations do not. Their 'step' is not to be relied on: mmengine's default is
        # to count epochs, also where the schedule counts iterations.
        result = next((line for line in self.scalars()[-1:] if 'iter' not in line), None)
        if result is None:
            tests = sorted(self.work_dir.glob('test/*/*.json'))
            result = [{}, *whole_objects(path.read_text() for path in tests)][-1]
        found = {column: result[key] for column, keys in METRICS.items() for key in keys if key in result}
        return found if 'AP' in found else {}

    def status(self) -> str:
        """One of 'done', 'unfinished' and 'not started'."""
        if self.metrics():
            return 'done'
        return 'unfinished' if self.scalars() or self.checkpoint() else 'not started'

    def has_config(self) -> bool:
        """Whether mmengine has written the config; a kill while it was formatted leaves an empty file."""
        return self.dumped_config.exists() and self.dumped_config.stat().st_size > 0

    def changed_keys(self) -> List[str]:
        """Name the decisive settings in which the config that the folder was made with differs from today's."""
        if not self.has_config():
            return []
        then = Config.fromfile(self.dumped_config, import_custom_modules=False)
        if then.get('resume'):  # 'load_from' is where it resumed
            then.load_from = self.cfg.get('load_from')
        return [name for key in DECISIVE_KEYS for name in differing_keys(then.get(key), self.cfg.get(key), key)]

    def train_minutes(self) -> Optional[float]:
        """Add up the minutes between first and last line of the training logs."""
        total = timedelta()
        for path in self.work_dir.glob('[0-9]*/*.log'):
            times = re.findall(r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ', path.read_text(errors='replace'), re.M)
            if times:
                first, last = (datetime.strptime(text, '%Y/%m/%d %H:%M:%S') for text in (times[0], times[-1]))
                total += last - first
        return round(total.total_seconds() / 60, 2) if total else None

    def next_command(self) -> Optional[List[str]]:
        """Give mim's command that comes next; None if the run is done."""
        mim = [sys.executable, '-m', 'mim']
        checkpoint = self.checkpoint()
        if not self.is_trained():
            resume = ['--resume', str(checkpoint)] if checkpoint else []
            return [
                *mim,
                'train',
                mmdet_distribution(),
                self.path,
                '--work-dir',
                str(self.work_dir),
                *resume,
                '--cfg-options',
                *self.options,
            ]
        if not self.metrics():
            return [
                *mim,
                'test',
                mmdet_distribution(),
                self.path,
                '--checkpoint',
                str(checkpoint),
                '--work-dir',
                str(self.work_dir / 'test'),
                '--cfg-options',
                *self.options,
            ]
        return None

    def error(self) -> str:
        """Find the message of the exception that ended the last command."""
        output = self.output.read_text(errors='replace').rpartition('\n$ ')[-1]
        errors = re.findall(r'^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*$', output, re.M)
        errors = [error for error in errors if not error.startswith('subprocess.CalledProcessError')]
        return errors[-1] if errors else 'ended without an error message'


def visible_device(device: str) -> str:
    """Give the value of CUDA_VISIBLE_DEVICES that shows a command one device only.

    Args:
        device (str): ``'cpu'`` or ``'cuda:N'``, counted among the devices that are visible now.

    Raises:
        ValueError: If there is no such device.
    """
    if device == 'cpu':
        return ''
    name, _, number = device.partition(':')
    if name != 'cuda' or not number.isdigit() or int(number) >= torch.cuda.device_count():
        raise ValueError(f'{device}: no such device; give cpu or cuda:N, N less than {torch.cuda.device_count()}')
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    return visible.split(',')[int(number)] if visible else number


class Job:
    """The commands of a run, one after another, on one device.

    The output file is locked as long as a command writes to it, even if the sweep itself is killed, so that no second
    process trains in the same folder.

    Args:
        run (Run): The run.
        device (str, optional): ``'cuda:N'`` or ``'cpu'``; None leaves the choice to torch.

    Raises:
        RunError: If the run cannot be started.
    """

    def __init__(self, run: Run, device: Optional[str]) -> None:
        self.run = run
        self.first_progress = run.progress()
        changed = run.changed_keys()
        if changed and run.status() != 'done':
            raise RunError(
                f'{run.work_dir} was begun with another config ({", ".join(changed)} differ); move the '
                'folder away to start anew, or undo the change to resume'
            )
        self.env = dict(os.environ)
        if device is not None:
            self.env['CUDA_VISIBLE_DEVICES'] = visible_device(device)
        run.work_dir.mkdir(parents=True, exist_ok=True)
        self.output: TextIO = open(run.output, 'a')
        try:
            fcntl.flock(self.output, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.output.close()
            raise RunError(f'{run.work_dir} is being trained by another process') from None
        self.trained = False
        self.command: Optional[List[str]] = None
        self.process: Optional[subprocess.Popen] = None
        self._next()

    def _next(self) -> None:
        trained, command = self.run.is_trained(), self.run.next_command()
        if self.command is not None and command is not None:
            if not trained:
                name = f'{self.run.unit}_{self.run.steps}.pth'
                raise RunError(f"ended without the checkpoint {name}; keep CheckpointHook's save_last and file names")
            if self.trained:
                raise RunError(
                    f'the test gives none of {", ".join(METRICS["AP"])}; without any detection there is no AP'
                )
        self.trained, self.command = trained, command
        if command is not None:
            print(f'\n$ {shlex.join(command)}', file=self.output, flush=True)
            # A group of its own: mim starts further processes, which end with it.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self.output,
                stderr=subprocess.STDOUT,
                env=self.env,
                start_new_session=True,
            )

    def poll(self) -> bool:
        """Go on with the next command when one has ended.

        Returns:
            bool: Whether the run is done.

        Raises:
            RunError: If a command failed.
        """
        if self.command is not None and self.process.poll() is not None:
            if self.process.returncode != 0:
                raise RunError(f'{self.run.error()} (exit status {self.process.returncode})')
            self._next()
        return self.command is None

    def close(self) -> None:
        """End the command, if one is running, and unlock the folder."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.output.close()


class Progress:
    """Tells how far the sweep is.

    Args:
        runs (list[Run]): All runs.
    """

    def __init__(self, runs: List[Run]) -> None:
        self.runs = runs
        self.start = time.time()
        self.worked = 0.0  # of jobs that have ended, in runs

    def tell(self, run: Run, message: str) -> None:
        """Print a line about a run."""
        end = '\x1b[K\n' if sys.stdout.isatty() else '\n'
        print(f'[{self.runs.index(run) + 1}/{len(self.runs)}] {run}: {message}', end=end, flush=True)

    def times(self, queue: List[Run], running: List[Job]) -> str:
        """Describe the time since the start and the expected end, from the work done so far."""
        now = time.time()
        done = self.worked + sum(job.run.progress() - job.first_progress for job in running)
        left = sum(1 - run.progress() for run in [*queue, *(job.run for job in running)])
        end = datetime.fromtimestamp(now + (now - self.start) * left / done).strftime('%a %H:%M') if done else '?'
        return f'elapsed {timedelta(seconds=int(now - self.start))}, expected end {end}'


def train(runs: List[Run], devices: List[Optional[str]], collect: Callable[[], None]) -> Dict[str, str]:
    """Train the runs.

    Args:
        runs (list[Run]): The runs.
        devices (list[str, optional]): Devices, each for one run at a time.
        collect (Callable): Called after each run.

    Returns:
        dict[str, str]: Errors of the runs that failed.
    """
    progress = Progress(runs)
    failed: Dict[str, str] = {}
    queue = [run for run in runs if run.status() != 'done']
    print(f'{len(runs) - len(queue)} of {len(runs)} runs are done already')
    running: Dict[int, Job] = {}  # by number of the device

    def fail(run: Run, error: RunError) -> None:
        failed[str(run)] = f'{error}; see {run.output}'
        progress.tell(run, f'FAILED: {failed[str(run)]}')

    try:
        while queue or running:
            for number, device in enumerate(devices):
                if queue and number not in running:
                    run = queue.pop(0)
                    try:
                        running[number] = Job(run, device)
                    except RunError as error:
                        fail(run, error)
                    else:
                        place = f' on {device}' if device else ''
                        checkpoint = run.checkpoint()
                        progress.tell(
                            run, f'training{place}{f", resumed from {checkpoint.name}" if checkpoint else ""}'
                        )
            for number, job in list(running.items()):
                try:
                    if not job.poll():
                        continue
                    outcome = f'done, AP {job.run.metrics()["AP"]:.3f}; '
                except RunError as error:
                    fail(job.run, error)
                    outcome = ''
                progress.worked += job.run.progress() - job.first_progress
                job.close()
                del running[number]
                progress.tell(job.run, outcome + progress.times(queue, list(running.values())))
                collect()
            if running:
                if sys.stdout.isatty():
                    finished = len(runs) - len(queue) - len(running)
                    print(
                        f'{finished} of {len(runs)} runs finished, {progress.times(queue, list(running.values()))}',
                        end='\x1b[K\r',
                        flush=True,
                    )
                time.sleep(2)
    finally:
        for job in running.values():
            job.close()
    return failed


def written_configs(runs: List[Run]) -> Dict[str, Path]:
    """Find the configs that mmengine has written, which have all overrides in them; the first run's of each name."""
    configs: Dict[str, Path] = {}
    for run in runs:
        if run.has_config():
            configs.setdefault(run.config, run.dumped_config)
    return configs


def read_table(path: Path, runs: List[Run]) -> Dict[str, Dict[str, str]]:
    """Read a CSV file of :func:`analyse`.

    Returns:
        dict[str, dict[str, str]]: Rows by their first column, the config, but for those of configs that were
        trained anew since.
    """
    if not path.exists():
        return {}
    with open(path, newline='') as f:
        reader = csv.DictReader(f)
        rows = {row[reader.fieldnames[0]]: row for row in reader}
    time_of_rows = path.stat().st_mtime_ns
    return {
        config: rows[config]
        for config, written in written_configs(runs).items()
        if config in rows and written.stat().st_mtime_ns <= time_of_rows
    }


def analyse(script: str, runs: List[Run], out: Path, *options: str) -> None:
    """Run a script of analysis_tools on the configs that have been started, unless its table has them all as they are.

    Args:
        script (str): Name of the script, which takes configs and ``--csv FILE``.
        runs (list[Run]): The runs.
        out (Path): The table.
        options (str): Further arguments of the script.
    """
    configs = written_configs(runs)
    if configs.keys() <= read_table(out, runs).keys():
        return
    print(f'{script} on {len(configs)} configs ...', flush=True)
    paths = [str(path) for path in configs.values()]
    command = [sys.executable, str(ANALYSIS_TOOLS / script), *paths, '--csv', str(out), *options]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        print(f'{script} failed, so its columns stay empty; its output ends with\n{result.stdout[-1000:]}')


def collect_rows(runs: List[Run], out: Path) -> List[Dict[str, Any]]:
    """Read the results of the runs, as rows of :data:`COLUMNS`; unknown values are None."""
    complexity, latency = (read_table(out / name, runs) for name in ('complexity.csv', 'latency.csv'))
    rows = []
    for run in runs:
        row = dict.fromkeys(COLUMNS)
        row.update(
            config=run.config,
            seed=run.seed,
            status=run.status(),
            progress=round(run.progress(), 3),
            train_minutes=run.train_minutes(),
            work_dir=str(run.work_dir),
            **run.metrics(),
        )
        if run.config in complexity:
            counts = complexity[run.config]
            row.update(mmacs=float(counts['total MMACs']), mparams=float(counts['total Mparams']))
        if run.config in latency:
            row.update(latency_ms=float(latency[run.config]['median_ms']))
        rows.append(row)
    return rows


def summarise(rows: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Average the done runs of each config.

    Returns:
        list[dict]: For each config ``runs`` (all), ``done`` and, for each column of numbers, a list of mean and sample
        standard deviation over the seeds; None where no run has a value, a deviation of None for a single one.
    """
    summary = []
    for config in dict.fromkeys(row['config'] for row in rows):
        of_config = [row for row in rows if row['config'] == config]
        done = [row for row in of_config if row['status'] == 'done']
        entry: Dict[str, Any] = dict(config=config, runs=len(of_config), done=len(done))
        for column in ('AP', 'AP50', 'train_minutes'):
            values = [row[column] for row in done if row[column] is not None]
            spread = statistics.stdev(values) if len(values) > 1 else None
            entry[column] = (statistics.mean(values), spread) if values else None
        for column in ('mmacs', 'mparams', 'latency_ms'):
            entry[column] = (of_config[0][column], None) if of_config[0][column] is not None else None
        summary.append(entry)
    return summary


def markdown(summary: List[Dict[str, Any]]) -> str:
    """Tabulate the summary."""
    columns = dict(
        AP=('AP', 3),
        AP50=('AP50', 3),
        mmacs=('MMACs', 1),
        mparams=('params (M)', 2),
        latency_ms=('latency (ms)', 1),
        train_minutes=('training (min)', 1),
    )

    def cell(value: Optional[tuple], digits: int) -> str:
        if value is None:
            return '-'
        mean, spread = value
        return f'{mean:.{digits}f}' + (f' ± {spread:.{digits}f}' if spread is not None else '')

    lines = [['config', 'seeds', *(title for title, _ in columns.values())], ['---'] * (len(columns) + 2)]
    for entry in summary:
        seeds = str(entry['runs']) if entry['done'] == entry['runs'] else f'{entry["done"]} of {entry["runs"]}'
        lines.append([entry['config'], seeds, *(cell(entry[key], digits) for key, (_, digits) in columns.items())])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def plot(summary: List[Dict[str, Any]], path: Path) -> None:
    """Draw AP against MACs and against latency, with the standard deviation over the seeds."""
    summary = [entry for entry in summary if entry['AP'] is not None]
    fig, panels = plt.subplots(1, 2, figsize=(12, 5), sharey=True, layout='constrained')
    colours = plt.get_cmap('tab10').colors
    for axes, column, label in zip(panels, ('mmacs', 'latency_ms'), ('MMACs', 'latency (ms)')):
        for number, entry in enumerate(summary):
            if entry[column] is not None:
                axes.errorbar(
                    entry[column][0],
                    entry['AP'][0],
                    yerr=entry['AP'][1],
                    fmt='osD^vPX<>*'[number // len(colours) % 10],
                    color=colours[number % len(colours)],
                    capsize=3,
                    label=entry['config'],
                )
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel('AP')
    fig.suptitle('mean and standard deviation over the seeds', fontsize='medium')
    handles, labels = max((axes.get_legend_handles_labels() for axes in panels), key=lambda legend: len(legend[1]))
    if labels:
        fig.legend(handles, labels, loc='outside right upper', fontsize='small')
    fig.savefig(path, dpi=120)
    plt.close(fig)


def collect(runs: List[Run], out: Path) -> str:
    """Write table, summary and plot.

    Args:
        runs (list[Run]): The runs.
        out (Path): Folder to write to.

    Returns:
        str: The summary in Markdown.
    """
    rows = collect_rows(runs, out)
    with open(out / 'sweep.csv', 'w', newline='') as f:
        writer = csv.DictWriter(f, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    summary = summarise(rows)
    text = markdown(summary)
    (out / 'sweep.md').write_text(f'{text}\n')
    plot(summary, out / 'sweep.png')
    return text


def main(argv: Optional[List[str]] = None) -> int:
    """Parse the command line, train and collect.

    Returns:
        int: Number of runs that failed.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('configs', nargs='+', help='configs to train')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='seeds of each config')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/sweep'), help='folder of the runs and tables')
    parser.add_argument(
        '--devices', nargs='+', help='run in parallel on these, for example cuda:0 cuda:1; cpu may be given as well'
    )
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, help="overrides of all configs, as mmdet's")
    parser.add_argument('--collect-only', action='store_true', help='write the tables of what is there, train nothing')
    parser.set_defaults(cfg_words=[])
    args = parser.parse_args(argv)
    runs = []
    for path in args.configs:
        try:
            cfg = Config.fromfile(path, import_custom_modules=False)
            runs += [Run(path, cfg, args.cfg_options or {}, args.cfg_words, seed, args.work_dir) for seed in args.seeds]
        except (OSError, SyntaxError, AttributeError, KeyError, TypeError) as error:
            parser.error(f'{path}: {error}; give configs of mmengine with a train_cfg')
    names = [str(run) for run in runs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        parser.error(
            f'given twice: {", ".join(twice)}; names of configs and seeds must differ, since folders are named '
            'after them'
        )
    for device in args.devices or []:
        try:
            visible_device(device)
        except ValueError as error:
            parser.error(f'--devices {error}')
    args.work_dir.mkdir(parents=True, exist_ok=True)

    failed: Dict[str, str] = {}
    if not args.collect_only:
        try:
            failed = train(runs, args.devices or [None], lambda: collect(runs, args.work_dir))
        except KeyboardInterrupt:
            print('\ninterrupted; the same command resumes')
            return 1
    analyse('complexity.py', runs, args.work_dir / 'complexity.csv')
    if not args.collect_only:
        latency_options = ('--threads', '1', '--score-thr', '0.05', '--baselines')
        analyse('benchmark_latency.py', runs, args.work_dir / 'latency.csv', *latency_options)
    print(f'\n{collect(runs, args.work_dir)}\n\nwrote sweep.csv, sweep.md and sweep.png to {args.work_dir}')
    changed: Dict[Tuple[str, str], List[str]] = {}
    for run in runs:
        changed.setdefault((run.config, ', '.join(run.changed_keys())), []).append(str(run.seed))
    for (config, keys), seeds in changed.items():
        if keys:
            print(
                f'{config}, seeds {" ".join(seeds)}: trained with another config than now ({keys} differ); move the '
                'folders away to train again'
            )
    for name, error in failed.items():
        print(f'FAILED: {name}: {error}')
    return len(failed)


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the commands as Ctrl-C does
    sys.exit(min(main(), 1))
