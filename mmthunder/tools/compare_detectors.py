"""Train the planned detector and mmdet's light ones on one data set for the same time, and compare them.

    python tools/compare_detectors.py configs/my_data.py --minutes 20

The config is one of ``tools/make_config.py``. Each detector is timed on this machine, gets as many iterations as fill
the minutes, and is trained from random weights, one at a time. The same command again skips what is done and resumes
what was interrupted; with the timings that are kept in WORK_DIR/timing.json it plans the same iterations.
See docs/choosing.md.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import List, Optional

import pandas as pd

from mmthunder.comparison import ComparisonError
from mmthunder.comparison.candidates import DETECTORS, Settings, write_candidates
from mmthunder.comparison.plot import plot
from mmthunder.comparison.results import read_curve, read_result, to_markdown
from mmthunder.comparison.timed import thread_environment
from mmthunder.planning.quiet import quiet
from mmthunder.tools.arguments import at_least
from mmthunder.tools.sweep import Run, train
from mmthunder.utils.other_load import describe_other_load


def positive(text: str) -> float:
    """Read a positive number."""
    value = float(text)
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text}: expected a positive number')
    return value


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', type=Path, help='config of tools/make_config.py')
    parser.add_argument('--minutes', type=positive, default=20, help='time of each training, with its validations')
    parser.add_argument('--detectors', nargs='+', choices=DETECTORS, default=DETECTORS, help='detectors to train')
    parser.add_argument('--lr-scale', type=positive, nargs='+', default=[1], help="factors of the peers' learning rate")
    parser.add_argument(
        '--pipeline', choices=('plan', 'own'), default='plan', help="training pipeline of the peers: the plan's or own"
    )
    parser.add_argument('--batch-size', type=at_least(1), help="images of a step of the peers; the plan's by default")
    parser.add_argument('--threads', type=at_least(1), default=1, help='threads of the training process')
    parser.add_argument('--max-iters', type=at_least(1), help='iterations of each, instead of those that fill the time')
    parser.add_argument('--seed', type=int, default=0, help='seed of the trainings')
    parser.add_argument('--rounds', type=at_least(0), default=30, help='rounds that time the exports; 0 leaves it out')
    parser.add_argument('--timing', type=Path, help='file with the timings; WORK_DIR/timing.json by default')
    parser.add_argument('--work-dir', type=Path, help='directory of the runs; work_dirs/compare_CONFIG by default')
    args = parser.parse_args(argv)
    if args.timing and not args.timing.exists():
        parser.error(f'--timing {args.timing}: no such file; leave it out to time the detectors')
    args.work_dir = args.work_dir or Path('work_dirs') / f'compare_{args.config.stem}'
    args.detectors = list(dict.fromkeys(args.detectors))
    args.lr_scale = list(dict.fromkeys(args.lr_scale))
    return args


def main(argv: Optional[List[str]] = None) -> int:
    """Time, train and compare; return the number of detectors whose training failed."""
    args = parse_args(argv)
    settings = Settings(args.minutes, args.batch_size, args.pipeline, args.lr_scale, args.threads)
    timings = args.timing or args.work_dir / 'timing.json'
    load = describe_other_load()
    if load:
        print(f'warning: {load}', file=sys.stderr)
    try:
        configs = write_candidates(
            args.config, args.detectors, settings, args.work_dir / 'configs', timings, print, args.max_iters
        )
    except ComparisonError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the trainings as Ctrl-C does
    os.environ.update(thread_environment(args.threads))  # which the trainings inherit
    runs = [Run(str(config), [], args.seed, args.work_dir / 'runs') for config in configs]
    try:
        failed = train(runs, [None], lambda: None)
    except KeyboardInterrupt:
        print('\ninterrupted; the same command resumes')
        return 1
    print(collect(runs, args.work_dir, args.rounds))
    for run, error in failed.items():
        print(f'FAILED: {run}: {error}')
    return len(failed)


def collect(runs: List[Run], directory: Path, rounds: int) -> str:
    """Write ``comparison.csv``, ``comparison.md`` and ``comparison.png``; return the table in Markdown."""
    done = [run for run in runs if run.status() == 'done']
    if not done:
        return 'no training is finished'
    with quiet():
        results = [read_result(run.config, Path(run.path), run.work_dir, run.train_minutes()) for run in done]
    rows = pd.DataFrame(results)
    curves = {run.config: read_curve(run.work_dir) for run in done}

    def write() -> str:
        rows.to_csv(directory / 'comparison.csv', index=False)
        text = to_markdown(rows)
        (directory / 'comparison.md').write_text(f'{text}\n', encoding='utf-8')
        plot(rows, curves, directory / 'comparison.png')
        return text

    write()
    if rounds:
        # Not above, since training needs no ONNX.
        from mmthunder.comparison.latency import measure

        files = {
            run.config: dict(config=Path(run.path), checkpoint=run.last_checkpoint, size=run.cfg.input_size)
            for run in done
        }
        rows = rows.join(measure(files, rounds), on='detector')
    return f'{write()}\n\nwrote comparison.csv, comparison.md and comparison.png to {directory}'


if __name__ == '__main__':
    sys.exit(main())
