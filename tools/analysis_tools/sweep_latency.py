"""Shows how a detector's latency grows with the image, the proposals, the classes and the threads.

    python tools/analysis_tools/sweep_latency.py configs/thundernet/thundernet_snet49_4xb16-375k_coco.py --output sweep

One setting varies at a time, from the config's; all variants take turns in every round. Weights are
random. No box reaches the final NMS, as if images were empty; for the classes there is a second row in
which every box of every class does, so that images with objects are between the two. Writes sweep.md,
sweep.csv and sweep.png.
"""

import argparse
import csv
import logging
import statistics
import warnings
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple

import matplotlib
import numpy as np
import torch
from arguments import at_least
from benchmark_latency import cpu_name, detector_call, time_rounds

from mmthunder.apis import load_detector, set_score_thr
from mmthunder.runtime.sessions import ONNX_BACKENDS

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402  after the choice of a backend without windows


class Axis(NamedTuple):
    """A setting that varies.

    Attributes:
        name (str): What varies, with its unit.
        values (tuple[int, ...]): Its values.
        key (str, optional): The config's key that they go to; None for the image and the threads.
        score_thr (float): Score that a box needs for the final NMS: nothing scores above 1,
            everything above 0.
    """

    name: str
    values: Tuple[int, ...]
    key: Optional[str] = None
    score_thr: float = 1.0


IMAGE = Axis('image side, px', (224, 320, 416, 512, 640))
PROPOSALS = Axis('proposals', (50, 100, 200, 500, 1000), 'model.test_cfg.rpn.max_per_img')
CLASSES = Axis('classes', (1, 20, 80, 300, 1000), 'model.roi_head.bbox_head.num_classes')
CROWDED = CLASSES._replace(name='classes, all boxes in NMS', score_thr=0.0)
THREADS = Axis('threads', (1, 2))
AXES = dict(image=IMAGE, proposals=PROPOSALS, classes=CLASSES, crowded=CROWDED, threads=THREADS)
TICKS = (5, 10, 20, 50, 100, 200, 500, 1000)
# (name of the axis, value, backend)
Key = Tuple[str, int, str]


def variant_calls(
    config: str, axis: Axis, value: int, size: int, backends: Sequence[str]
) -> Dict[str, Callable[[], object]]:
    """Build one variant of the detector.

    Args:
        config (str): Path of the config.
        axis (Axis): What varies.
        value (int): Its value.
        size (int): Side of the image where that does not vary, in pixels.
        backends (Sequence[str]): What runs it.

    Returns:
        dict[str, Callable]: Its calls by backend.
    """
    options = {axis.key: value} if axis.key else {}
    # Proposals are chosen among at least twice as many anchors.
    if axis.name == PROPOSALS.name:
        options['model.test_cfg.rpn.nms_pre'] = max(1000, 2 * value)
    detector = load_detector(config, cfg_options=options)
    set_score_thr(detector, axis.score_thr)
    side = value if axis.name == IMAGE.name else size
    threads = value if axis.name == THREADS.name else 1
    images = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    calls = {}
    if 'eager' in backends:
        call = detector_call(detector, [torch.from_numpy(images[0]).permute(2, 0, 1).contiguous()])

        def eager_call() -> object:
            torch.set_num_threads(threads)
            return call()

        calls['eager'] = eager_call
    exported = [backend for backend in backends if backend != 'eager']
    if exported:
        # Timing in eager mode needs no onnx.
        from exported import exported_calls, to_graph

        calls.update(exported_calls(to_graph(detector), images, exported, threads))
    return calls


def write_table(medians: Dict[Key, float], axes: Sequence[Axis], backends: Sequence[str], path: Path) -> str:
    """Write the medians as CSV, a row for each value of each axis; return them as Markdown."""
    head = ['', '', *(f'{backend}, ms' for backend in backends)]
    rows = [
        [axis.name, str(value), *(f'{medians[axis.name, value, backend]:.1f}' for backend in backends)]
        for axis in axes
        for value in axis.values
    ]
    with open(path, 'w', newline='') as f:
        writer = csv.writer(f)
        writer.writerow(['varied', 'value', *(f'{backend}_ms' for backend in backends)])
        writer.writerows(rows)
    return ''.join(f'| {" | ".join(row)} |\n' for row in (head, ['---'] * len(head), *rows))


def plot(medians: Dict[Key, float], axes: Sequence[Axis], backends: Sequence[str], path: Path) -> None:
    """Draw one panel for each setting that varies, with logarithmic axes: growth in proportion is a line of slope 1."""
    figure, panels = plt.subplots(1, len(axes), figsize=(3.4 * len(axes), 3.4), sharey=True, squeeze=False)
    for panel, axis in zip(panels[0], axes):
        for backend in backends:
            panel.plot(
                axis.values, [medians[axis.name, value, backend] for value in axis.values], marker='o', label=backend
            )
        panel.set_xlabel(axis.name)
        panel.set_xscale('log')
        panel.set_xticks(axis.values, axis.values)
        panel.set_yscale('log')
        panel.set_yticks(TICKS, TICKS)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    latencies = [medians[axis.name, value, backend] for axis in axes for value in axis.values for backend in backends]
    panels[0, 0].set_ylim(0.8 * min(latencies), 1.25 * max(latencies))
    panels[0, 0].set_ylabel('latency, ms')
    panels[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Parse the command line, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='config of the detector')
    parser.add_argument('--axes', nargs='+', choices=AXES, default=list(AXES), help='what varies; by default all')
    parser.add_argument(
        '--backends', nargs='+', choices=('eager', *ONNX_BACKENDS), default=ONNX_BACKENDS, help='what runs it'
    )
    parser.add_argument(
        '--size', type=at_least(32), default=320, help='side of the image where that does not vary, in pixels'
    )
    parser.add_argument('--rounds', type=at_least(1), default=30, help='rounds that count')
    parser.add_argument('--warmup', type=at_least(0), default=3, help='rounds before them')
    parser.add_argument('--output', default='sweep', help='path of the tables and the plot, without suffix')
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings('ignore')
    output = Path(args.output)
    calls: Dict[Key, Callable[[], object]] = {}
    axes = [AXES[name] for name in args.axes]
    try:
        for axis in axes:
            for value in axis.values:
                print(f'preparing {axis.name} {value}')
                for backend, call in variant_calls(args.config, axis, value, args.size, args.backends).items():
                    calls[axis.name, value, backend] = call
    except (OSError, ImportError, ValueError, NotImplementedError) as error:
        parser.error(str(error))
    output.parent.mkdir(parents=True, exist_ok=True)
    # Backend by backend, so that a runtime finds its own threads awake.
    calls = {key: calls[key] for backend in args.backends for key in calls if key[2] == backend}
    with torch.inference_mode():
        times = time_rounds(calls, args.rounds, args.warmup)
    medians = {key: statistics.median(values) for key, values in times.items()}
    table = write_table(medians, axes, args.backends, output.with_suffix('.csv'))
    plot(medians, axes, args.backends, output.with_suffix('.png'))
    text = (
        f'{Path(args.config).stem}, {args.size} px, one thread where nothing else is said; {cpu_name()}, '
        f'{args.rounds} rounds after {args.warmup}\n\n{table}'
    )
    output.with_suffix('.md').write_text(text)
    print(f'{text}\n{output}.md, {output}.csv, {output}.png')


if __name__ == '__main__':
    main()
