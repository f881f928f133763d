"""Times detectors on the CPU beside torchvision's, in one run.

    python tools/analysis_tools/benchmark_latency.py configs/thundernet/snet49_coco.py --threads 1

Every round calls each model once, so that a machine that slows down does so for all of them; ratios
are taken round by round. A call goes from a uint8 image in memory to boxes: through mmdet's
``test_step`` for a config, through ``model([image])`` for torchvision's models, whose images have the
first config's size. Each model has its own score threshold; ``--score-thr`` gives all the same. Weights
are random unless a checkpoint is given.
"""

import argparse
import csv
import logging
import platform
import statistics
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import mmdet
import numpy as np
import torch
import torchvision
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.utils import ProgressBar

PEERS = ('ssdlite320_mobilenet_v3_large', 'fasterrcnn_mobilenet_v3_large_320_fpn')


def cpu_name() -> str:
    """Name the processor."""
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def build_detector(config: str, checkpoint: Optional[str], score_thr: Optional[float]) -> torch.nn.Module:
    """Build the detector of a config in eval mode.

    Args:
        config (str): Path of the config.
        checkpoint (str, optional): Path of its weights; None leaves them random.
        score_thr (float, optional): Overrides the config's score threshold.

    Returns:
        torch.nn.Module: The detector.
    """
    cfg = Config.fromfile(config)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    if score_thr is not None and 'rcnn' in cfg.model.get('test_cfg', {}):
        cfg.model.test_cfg.rcnn.score_thr = score_thr
    if checkpoint is None:
        cfg.model.backbone.init_cfg = None
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    if checkpoint is not None:
        load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    else:
        model.init_weights()
    return model.eval()


def test_size(config: str) -> Tuple[int, int]:
    """Read the (height, width) that a config's test images are resized to.

    Raises:
        ValueError: If its test pipeline has no ``Resize`` with a scale.
    """
    for step in Config.fromfile(config).test_dataloader.dataset.pipeline:
        if step.type == 'Resize' and 'scale' in step:
            width, height = step.scale
            return height, width
    raise ValueError(f'{config}: its test pipeline has no Resize with a scale; give --size')


def detector_call(model: torch.nn.Module, images: List[torch.Tensor]) -> Callable[[], object]:
    """Make a call of mmdet's ``test_step`` on images (3, H, W) in uint8."""
    height, width = images[0].shape[-2:]
    meta = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1., 1.), img_id=0)

    def call() -> object:
        samples = [DetDataSample(metainfo=meta) for _ in images]
        return model.test_step(dict(inputs=images, data_samples=samples))

    return call


def peer_call(name: str, images: List[torch.Tensor], score_thr: Optional[float]) -> Callable[[], object]:
    """Make a call of a torchvision detector with random weights on the same images."""
    size = images[0].shape[-1]
    kwargs = dict(weights=None, weights_backbone=None)
    if name.startswith('fasterrcnn'):
        kwargs.update(min_size=size, max_size=size)
        if score_thr is not None:
            kwargs.update(box_score_thresh=score_thr)
    elif score_thr is not None:
        kwargs.update(score_thresh=score_thr)
    model = torchvision.models.get_model(name, **kwargs).eval()
    return lambda: model([image.float() / 255 for image in images])


def time_rounds(calls: Dict[str, Callable[[], object]], rounds: int, warmup: int) -> Dict[str, List[float]]:
    """Time the calls, each once a round.

    Args:
        calls (dict[str, Callable]): The calls by name.
        rounds (int): Rounds that count.
        warmup (int): Rounds before them.

    Returns:
        dict[str, list[float]]: Milliseconds of each call in each round.
    """
    times: Dict[str, List[float]] = {name: [] for name in calls}
    bar = ProgressBar(rounds + warmup)
    for number in range(rounds + warmup):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            elapsed = (time.perf_counter() - start) * 1000
            if number >= warmup:
                times[name].append(elapsed)
        bar.update()
    print()
    return times


def markdown(times: Dict[str, List[float]], references: List[str]) -> str:
    """Tabulate medians, the spread from the 10th to the 90th percentile, and ratios."""
    head = ['model', 'median ms', 'p10-p90 ms', *(f'ratio to {name}' for name in references)]
    lines = [' | '.join(head), ' | '.join('---' for _ in head)]
    for name, values in times.items():
        low, high = np.percentile(values, (10, 90))
        ratios = [
            f'{statistics.median(a / b for a, b in zip(values, times[reference])):.2f}x' for reference in references
        ]
        lines.append(' | '.join([name, f'{statistics.median(values):.1f}', f'{low:.1f}-{high:.1f}', *ratios]))
    return '\n'.join(f'| {line} |' for line in lines)


def write_csv(times: Dict[str, List[float]], path: str) -> None:
    """Write median, 10th and 90th percentile of each model."""
    with open(path, 'w', newline='') as f:
        writer = csv.writer(f)
        writer.writerow(['model', 'median_ms', 'p10_ms', 'p90_ms'])
        for name, values in times.items():
            writer.writerow([name, *(round(float(value), 2) for value in np.percentile(values, (50, 10, 90)))])


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('configs', nargs='+', help='configs to time')
    parser.add_argument('--checkpoint', help='weights, where there is one config')
    parser.add_argument('--size', type=int, help="side of the images, in pixels; each config's own if not given")
    parser.add_argument('--batch', type=int, default=1, help='images of a call')
    parser.add_argument('--threads', type=int, default=1, help='threads of torch')
    parser.add_argument('--rounds', type=int, default=50, help='rounds that count')
    parser.add_argument('--warmup', type=int, default=5, help='rounds before them')
    parser.add_argument('--score-thr', type=float, help="score threshold of all models instead of each one's own")
    parser.add_argument('--peers', nargs='*', default=PEERS, help='torchvision detectors to time beside them')
    parser.add_argument('--csv', help='file for the medians and percentiles')
    args = parser.parse_args()
    if args.checkpoint and len(args.configs) > 1:
        parser.error('--checkpoint needs exactly one config')
    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    sizes = {config: (args.size, args.size) if args.size else test_size(config) for config in args.configs}
    images = {
        size: [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for _ in range(args.batch)]
        for size in sizes.values()
    }
    calls = {
        Path(config).stem: detector_call(build_detector(config, args.checkpoint, args.score_thr), images[size])
        for config, size in sizes.items()
    }
    first_images = images[sizes[args.configs[0]]]
    calls.update({name: peer_call(name, first_images, args.score_thr) for name in args.peers})
    with torch.inference_mode():
        times = time_rounds(calls, args.rounds, args.warmup)
    threshold = 'own score thresholds' if args.score_thr is None else f'score threshold {args.score_thr}'
    pixels = ', '.join(f'{width}x{height}' for height, width in images)
    print(f'{cpu_name()}; torch {torch.__version__}, torchvision {torchvision.__version__}, mmdet '
          f'{mmdet.__version__}; eager, {args.threads} thread(s), batch {args.batch}, {pixels} px, {threshold}, '
          f'{args.rounds} rounds after {args.warmup}\n')
    print(markdown(times, list(args.peers)))
    if args.csv:
        write_csv(times, args.csv)


if __name__ == '__main__':
    main()
