"""Shows how a detector's latency grows with the image, the proposals, the classes and the threads.

    python tools/analysis_tools/sweep_latency.py configs/thundernet/snet49_coco.py --output sweep

One setting varies at a time, from the config's; all variants take turns in every round. Weights are
random. Writes sweep.md and sweep.png.
"""

import argparse
import logging
import statistics
import warnings
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import matplotlib
import numpy as np
import torch
from benchmark_latency import cpu_name, detector_call, time_rounds
from exported import exported_calls

from mmthunder.export import TwoStageGraph, load_detector, set_score_thr
from mmthunder.runtime.sessions import ONNX_BACKENDS

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402  after the choice of a backend without windows

# What varies: the values, and the config's key that they go to.
AXES: Dict[str, Tuple[List[int], str]] = {
    'image side, px': ([224, 320, 416, 512, 640], ''),
    'proposals': ([50, 100, 200, 500, 1000], 'model.test_cfg.rpn.max_per_img'),
    'classes': ([1, 20, 80, 300, 1000], 'model.roi_head.bbox_head.num_classes'),
    'threads': ([1, 2], ''),
}
# (axis, value, backend)
Key = Tuple[str, int, str]


def variant_calls(config: str, axis: str, value: int, size: int,
                  backends: List[str]) -> Dict[str, Callable[[], object]]:
    """Build one variant of the detector.

    Args:
        config (str): Path of the config.
        axis (str): What varies, a key of :data:`AXES`.
        value (int): Its value.
        size (int): Side of the image where that does not vary, in pixels.
        backends (list[str]): What runs it.

    Returns:
        dict[str, Callable]: Its calls by backend.
    """
    key = AXES[axis][1]
    options = {key: value} if key else {}
    # Proposals are chosen among at least twice as many anchors.
    if axis == 'proposals':
        options['model.test_cfg.rpn.nms_pre'] = max(1000, 2 * value)
    detector = load_detector(config, cfg_options=options)
    set_score_thr(detector, 0.05)
    side = value if axis == 'image side, px' else size
    threads = value if axis == 'threads' else 1
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
        calls.update(exported_calls(TwoStageGraph(detector), images, exported, threads))
    return calls


def plot(medians: Dict[Key, float], backends: List[str], path: Path) -> None:
    """Draw one panel for each setting that varies."""
    figure, panels = plt.subplots(1, len(AXES), figsize=(4 * len(AXES), 3.2), sharey=True)
    for panel, (axis, (values, _)) in zip(panels, AXES.items()):
        for backend in backends:
            panel.plot(values, [medians[axis, value, backend] for value in values], marker='o', label=backend)
        panel.set_xlabel(axis)
        panel.set_xticks(values, values, rotation=60 if len(values) > 2 else 0)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel('latency, ms')
    panels[0].set_ylim(bottom=0)
    panels[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Parse the command line, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='config of the detector')
    parser.add_argument('--backends', nargs='+', choices=('eager', *ONNX_BACKENDS), default=ONNX_BACKENDS,
                        help='what runs it')
    parser.add_argument('--size', type=int, default=320, help='side of the image where that does not vary, in pixels')
    parser.add_argument('--rounds', type=int, default=30, help='rounds that count')
    parser.add_argument('--warmup', type=int, default=3, help='rounds before them')
    parser.add_argument('--output', default='sweep', help='path of the table and the plot, without suffix')
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings('ignore')
    calls: Dict[Key, Callable[[], object]] = {}
    for axis, (values, _) in AXES.items():
        for value in values:
            print(f'preparing {axis} {value}')
            for backend, call in variant_calls(args.config, axis, value, args.size, args.backends).items():
                calls[axis, value, backend] = call
    with torch.inference_mode():
        times = time_rounds(calls, args.rounds, args.warmup)
    medians = {key: statistics.median(values) for key, values in times.items()}
    rows = [['', '', *(f'{backend}, ms' for backend in args.backends)], ['---'] * (2 + len(args.backends))]
    for axis, (values, _) in AXES.items():
        rows += [[axis, str(value), *(f'{medians[axis, value, backend]:.1f}' for backend in args.backends)]
                 for value in values]
    table = (f'{Path(args.config).stem}, {args.size} px, one thread where nothing else is said; {cpu_name()}, '
             f'{args.rounds} rounds after {args.warmup}\n\n' + ''.join(f'| {" | ".join(row)} |\n' for row in rows))
    Path(f'{args.output}.md').write_text(table)
    plot(medians, args.backends, Path(f'{args.output}.png'))
    print(f'{table}\n{args.output}.md, {args.output}.png')


if __name__ == '__main__':
    main()
