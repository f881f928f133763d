"""Shows how peak memory and time grow with the batch, the image and the objects of an image.

    python tools/analysis_tools/benchmark_growth.py configs/thundernet/thundernet_snet49_4xb16-375k_coco.py \
        --csv growth.csv --plot growth.png

One setting varies at a time, the others keep the values of ``--base``. Each case has a process of its own,
whose peak is what it uses at most beyond libraries and weights, images, gradients and the optimiser's state
included. A training step is mmengine's ``train_step``: preprocessing, all losses, backward and optimiser; the
images are noise with boxes drawn at random. Inference is mmdet's ``test_step``; with random weights there
are no objects to find, so the score threshold is set such that as many boxes an image as there would be
objects reach the final NMS. Weights are random.
"""

import argparse
import copy
import csv
import logging
import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional

import matplotlib
import numpy as np
import torch
from arguments import TWO_STAGES, at_least, config_with, torch_device
from benchmark_latency import cpu_name, detector_call, time_rounds
from benchmark_train_step import random_batch, train_call
from complexity import markdown, test_size
from mmdet.models.detectors import TwoStageDetector
from process_memory import PeakMemory

from mmthunder.apis import load_detector, set_score_thr

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402  after the choice of a backend without windows

MODES = ('training', 'inference')
# What varies: the label of its axis.
AXES = dict(batch='images of a batch', size='image side, px', objects='objects of an image')


class Case(NamedTuple):
    """What is measured; the images are squares with ``size`` pixels a side."""

    mode: str
    batch: int
    size: int
    objects: int


class Growth(NamedTuple):
    """What a case takes: the peak in bytes and the milliseconds an image of each step."""

    peak: int
    times: List[float]


def let_pass(detector: TwoStageDetector, call: Callable[[], list], objects: int) -> None:
    """Set the score threshold such that so many boxes of an image reach the final NMS, or fewer if there are fewer.

    Args:
        detector (TwoStageDetector): The detector; its test settings are changed.
        call (Callable): Runs it on some images, which should be the same one, and returns the results.
        objects (int): Boxes of an image.
    """
    cfg = detector.roi_head.test_cfg
    usual = copy.copy(cfg)
    cfg.update(score_thr=0.0, nms=None, max_per_img=objects)  # without NMS, the best
    lowest = min(sample.pred_instances.scores.min().item() for sample in call())
    cfg.update(usual)
    set_score_thr(detector, float(np.nextafter(np.float32(lowest), np.float32(0))))


def measure(config: str, case: Case, device: torch.device, threads: int, rounds: int, warmup: int) -> Growth:
    """Measure one case; to be called in a process of its own.

    Args:
        config (str): Path of the detector's config.
        case (Case): The case.
        device (torch.device): What computes.
        threads (int): Threads of torch.
        rounds (int): Steps that are timed.
        warmup (int): Steps before them, whose memory counts as well.

    Returns:
        Growth: What it takes.
    """
    logging.disable(logging.WARNING)
    warnings.filterwarnings('ignore')
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    detector = load_detector(config).to(device)
    memory = PeakMemory(device)
    training = case.mode == 'training'
    if training:
        detector.train()
        call = train_call(detector, random_batch(detector, case.batch, case.size, case.objects))
    else:
        image = torch.randint(0, 256, (3, case.size, case.size), dtype=torch.uint8)
        call = detector_call(detector, [image] * case.batch)

    def step() -> None:
        call()
        if memory.cuda:
            torch.cuda.synchronize(device)

    with torch.inference_mode(not training):
        if not training:
            let_pass(detector, call, case.objects)
        memory.reset()
        times = time_rounds({'step': step}, rounds, warmup)['step']
    return Growth(memory.read(), [time / case.batch for time in times])


def cases_of(axes: Dict[str, List[int]], base: List[int], modes: List[str]) -> List[Case]:
    """List the cases: along each axis, the others at their base, and each case once."""
    base_case = Case('', *base)
    cases = [
        base_case._replace(mode=mode, **{axis: value})
        for mode in modes
        for axis, values in axes.items()
        for value in values
    ]
    return list(dict.fromkeys(cases))


def table(
    results: Dict[Case, Optional[Growth]], axes: Dict[str, List[int]], base: List[int], modes: List[str]
) -> List[List[str]]:
    """Arrange the results as rows, the head first: one row for each value of an axis."""
    rows = [['batch', 'px', 'objects', *(f'{mode}: {unit}' for mode in modes for unit in ('peak MB', 'ms an image'))]]
    for axis, values in axes.items():
        for value in values:
            case = Case('', *base)._replace(**{axis: value})
            row = [str(number) for number in case[1:]]
            for mode in modes:
                result = results[case._replace(mode=mode)]
                if result is None:
                    row += ['failed', '-']
                else:
                    low, median, high = np.percentile(result.times, (10, 50, 90))
                    row += [f'{result.peak / 1e6:.0f}', f'{median:.1f} ({low:.1f}-{high:.1f})']
            rows.append(row)
    return rows


def write_csv(results: Dict[Case, Optional[Growth]], path: Path) -> None:
    """Write peak and times of each case; a case that failed has none."""
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow([*Case._fields, 'peak_mb', 'median_ms_per_image', 'p10_ms_per_image', 'p90_ms_per_image'])
        for case, result in results.items():
            numbers = []
            if result is not None:
                numbers = [round(result.peak / 1e6, 1), *np.percentile(result.times, (50, 10, 90)).round(2).tolist()]
            writer.writerow([*case, *numbers])


def plot(
    results: Dict[Case, Optional[Growth]], axes: Dict[str, List[int]], base: List[int], modes: List[str], path: Path
) -> None:
    """Draw a panel of memory and one of time for each axis."""
    figure, panels = plt.subplots(2, len(axes), figsize=(4 * len(axes), 6), sharex='col', sharey='row', squeeze=False)
    for column, (axis, values) in enumerate(axes.items()):
        for mode in modes:
            measured = {value: results[Case(mode, *base)._replace(**{axis: value})] for value in sorted(set(values))}
            measured = {value: result for value, result in measured.items() if result is not None}
            if not measured:
                continue
            low, median, high = np.array([np.percentile(result.times, (10, 50, 90)) for result in measured.values()]).T
            peaks = [result.peak / 1e6 for result in measured.values()]
            panels[0, column].plot(list(measured), peaks, marker='o', label=mode)
            panels[1, column].errorbar(list(measured), median, (median - low, high - median), marker='o', capsize=3)
        panels[1, column].set_xlabel(AXES[axis])
    for panel in panels.flat:
        panel.set_ylim(bottom=0)  # once all are drawn, since it ends the growth of the shared axis
        panel.grid(alpha=0.3)
    panels[0, 0].set_ylabel('peak memory, MB')
    panels[1, 0].set_ylabel('ms an image')
    panels[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(argv: Optional[List[str]] = None) -> None:
    """Parse the command line, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', type=config_with(*TWO_STAGES), help='config of a two-stage detector')
    parser.add_argument('--batch', type=at_least(1), nargs='+', default=[1, 2, 4, 8, 16], help='images of a batch')
    parser.add_argument(
        '--sizes',
        type=at_least(1),
        nargs='+',
        default=[160, 224, 320, 480, 640],
        dest='size',
        help='sides of the images, in pixels',
    )
    parser.add_argument(
        '--objects', type=at_least(1), nargs='+', default=[1, 10, 50, 100, 500], help='objects of an image'
    )
    parser.add_argument(
        '--base',
        type=at_least(1),
        nargs=3,
        metavar=('BATCH', 'SIZE', 'OBJECTS'),
        help="what does not vary; by default 4 images of the config's test size with 10 objects each",
    )
    parser.add_argument('--modes', nargs='+', choices=MODES, default=MODES, help='what to measure')
    parser.add_argument(
        '--device', type=torch_device, default='cuda' if torch.cuda.is_available() else 'cpu', help='what computes'
    )
    parser.add_argument('--threads', type=at_least(1), default=2, help='threads of torch')
    parser.add_argument('--rounds', type=at_least(1), default=10, help='steps that are timed')
    parser.add_argument('--warmup', type=at_least(1), default=2, help='steps before them')
    parser.add_argument('--csv', type=Path, help='file for the table as CSV')
    parser.add_argument('--plot', type=Path, help='picture to draw')
    args = parser.parse_args(argv)
    axes = {axis: getattr(args, axis) for axis in AXES}
    try:
        base = args.base or [4, max(test_size(args.config)), 10]
    except ValueError as error:
        parser.error(str(error))
    device, config = args.device, args.config.filename
    if device.type == 'cpu' and not Path('/proc/self/clear_refs').exists():
        parser.error('the memory of processes is read from /proc, which this system lacks; give --device cuda')

    cases = cases_of(axes, base, args.modes)
    results: Dict[Case, Optional[Growth]] = {}
    for number, case in enumerate(cases, 1):
        print(f'[{number}/{len(cases)}] {case.mode}, batch {case.batch}, {case.size} px, {case.objects} objects')
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as pool:
            job = pool.submit(measure, config, case, device, args.threads, args.rounds, args.warmup)
            try:
                results[case] = job.result()
            except (RuntimeError, MemoryError) as error:  # too large for torch, for numpy, or killed
                reason, *_ = str(error).split('\n')
                print(f'failed: {type(error).__name__}: {reason}')
                results[case] = None
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else cpu_name()
    print(
        f'\n{Path(config).stem}; {name}; torch {torch.__version__}; {args.threads} thread(s); median and 10th '
        f'to 90th percentile of {args.rounds} steps after {args.warmup}\n'
    )
    print(markdown(table(results, axes, base, args.modes)))
    if args.csv:
        write_csv(results, args.csv)
    if args.plot:
        plot(results, axes, base, args.modes, args.plot)


if __name__ == '__main__':
    main()
