"""Times detectors on the CPU beside others, in one run.

    python tools/analysis_tools/benchmark_latency.py configs/thundernet/thundernet_snet49_4xb16-375k_coco.py \
        --threads 1 \
        --backends eager onnxruntime openvino

Every round calls each model once in each backend, so that a machine that slows down does so for all of
them; ratios are taken round by round. A call goes from a uint8 image in memory to boxes. In eager mode
it is mmdet's ``test_step`` for a config and for mmdet's own detectors, and ``model([image])`` for
torchvision's; in the other backends it is one exported graph with everything in it. ``--files`` adds
files that were exported before, for instance in eight bits. The baselines' images have the first config's
size. Each model has its own score threshold; ``--score-thr`` gives all but the files the same. Weights
are random unless a checkpoint is given.

The share of the peak is the time of a model's multiply-adds at the speed of a large matrix product,
which is measured in each round too, over the time of the model.
"""

import argparse
import csv
import importlib
import logging
import platform
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from arguments import at_least
from baselines import MMDET, TORCHVISION, build_mmdet, build_torchvision
from complexity import test_size
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.utils import ProgressBar

from mmthunder.apis import load_detector, set_score_thr
from mmthunder.runtime.sessions import ONNX_BACKENDS, open_session

PEERS = (*TORCHVISION, *MMDET)
GEMM_SIDE = 1024


def cpu_name() -> str:
    """Name the processor."""
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def package_versions(packages: Sequence[str]) -> str:
    """List the versions that packages tell of themselves: forks and builds for CUDA are distributed as others."""
    # The rest of OpenVINO's names the build.
    return ', '.join(f'{name} {importlib.import_module(name).__version__.split("-")[0]}' for name in packages)


def detector_call(model: torch.nn.Module, images: List[torch.Tensor]) -> Callable[[], object]:
    """Make a call of mmdet's ``test_step`` on images (3, H, W) in uint8."""
    height, width = images[0].shape[-2:]
    meta = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0), img_id=0)

    def call() -> object:
        samples = [DetDataSample(metainfo=meta) for _ in images]
        return model.test_step(dict(inputs=images, data_samples=samples))

    return call


def file_calls(
    paths: Sequence[str], backends: Sequence[str], threads: int, size: Tuple[int, int], batch: int
) -> Dict[Tuple[str, str], Callable[[], object]]:
    """Make calls of exported files.

    Args:
        paths (Sequence[str]): ONNX files, which every backend runs, and files of OpenVINO (.xml).
        backends (Sequence[str]): Some of :data:`ONNX_BACKENDS`.
        threads (int): Threads of a call.
        size (tuple[int, int]): Height and width of the images for files that take every size.
        batch (int): Images of a call for files that take any number.

    Returns:
        dict[tuple[str, str], Callable]: The calls by name of the file and backend.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If a backend is not installed.
        ValueError: If a file cannot be loaded, or none of the backends runs it.
    """
    calls = {}
    for path in paths:
        fitting = [backend for backend in backends if backend == 'openvino' or not path.endswith('.xml')]
        if not fitting:
            raise ValueError(f'{path}: none of the chosen backends runs it; add --backends openvino')
        for backend in fitting:
            session = open_session(path, backend, threads)
            shape = [fixed or free for fixed, free in zip(session.input_shape, (batch, *size, 3))]
            images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
            calls[Path(path).name, backend] = lambda session=session, images=images: session.run(images)
    return calls


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


def markdown(
    times: Dict[str, List[float]], references: Sequence[str], extra: Optional[Dict[str, Dict[str, str]]] = None
) -> str:
    """Tabulate medians, the spread from the 10th to the 90th percentile, and ratios.

    Args:
        times (dict[str, list[float]]): Milliseconds of each model in each round.
        references (Sequence[str]): Models to give ratios to.
        extra (dict[str, dict[str, str]], optional): More columns: by their heads, entries by model.
            Defaults to None.

    Returns:
        str: The table.
    """
    extra = extra or {}
    head = ['model', 'median ms', 'p10-p90 ms', *(f'ratio to {name}' for name in references), *extra]
    lines = [' | '.join(head), ' | '.join('---' for _ in head)]
    for name, values in times.items():
        low, high = np.percentile(values, (10, 90))
        lines.append(
            ' | '.join(
                [
                    name,
                    f'{statistics.median(values):.1f}',
                    f'{low:.1f}-{high:.1f}',
                    *(f'{median_ratio(values, times[reference]):.2f}x' for reference in references),
                    *(column.get(name, '') for column in extra.values()),
                ]
            )
        )
    return '\n'.join(f'| {line} |' for line in lines)


def median_ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    """Give the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(values, reference))


def write_csv(times: Dict[Tuple[str, str], List[float]], path: str) -> None:
    """Write median, 10th and 90th percentile of each model in each backend."""
    with open(path, 'w', newline='') as f:
        writer = csv.writer(f)
        writer.writerow(['model', 'backend', 'median_ms', 'p10_ms', 'p90_ms'])
        for (name, backend), values in times.items():
            writer.writerow([name, backend, *(round(float(value), 2) for value in np.percentile(values, (50, 10, 90)))])


def main() -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('configs', nargs='+', help='configs to time')
    parser.add_argument('--checkpoint', help='weights, where there is one config')
    parser.add_argument(
        '--backends', nargs='+', choices=('eager', *ONNX_BACKENDS), default=['eager'], help='what runs the models'
    )
    parser.add_argument(
        '--size', type=at_least(32), help="side of the images, in pixels; each config's own if not given"
    )
    parser.add_argument('--batch', type=at_least(1), default=1, help='images of a call')
    parser.add_argument('--threads', type=at_least(1), default=1, help='threads')
    parser.add_argument('--rounds', type=at_least(1), default=50, help='rounds that count')
    parser.add_argument('--warmup', type=at_least(0), default=5, help='rounds before them')
    parser.add_argument('--score-thr', type=float, help="score threshold of all models instead of each one's own")
    parser.add_argument(
        '--baselines',
        nargs='*',
        choices=PEERS,
        default=TORCHVISION,
        metavar='PEER',
        help=f'detectors to time beside them: {", ".join(PEERS)}',
    )
    parser.add_argument(
        '--files',
        nargs='*',
        default=[],
        metavar='FILE',
        help='exported detectors to time beside them: .onnx, or .xml of OpenVINO',
    )
    parser.add_argument(
        '--references',
        nargs='*',
        metavar='MODEL',
        help='configs, baselines or files to give ratios to, as they are called in the table; by default all baselines',
    )
    parser.add_argument('--csv', help='file for the medians and percentiles')
    args = parser.parse_args()
    references = list(args.baselines) if args.references is None else args.references
    exported = [backend for backend in args.backends if backend != 'eager']
    if args.checkpoint and len(args.configs) > 1:
        parser.error('--checkpoint needs exactly one config')
    names = (
        [Path(config).stem for config in args.configs] + [*args.baselines] + [Path(path).name for path in args.files]
    )
    if set(references) - set(names):
        parser.error(f'--references {" ".join(references)} must be among {", ".join(names)}')
    if exported and args.batch > 1 and set(args.baselines) & set(TORCHVISION):
        parser.error("--batch above 1: graphs of torchvision's detectors take one image; leave them out of --baselines")
    logging.disable(logging.WARNING)
    warnings.filterwarnings('ignore')
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    graphs = {}
    try:
        sizes = {
            config: (args.size, args.size) if args.size else test_size(Config.fromfile(config))
            for config in args.configs
        }
        first_size = sizes[args.configs[0]]
        calls = file_calls(args.files, exported, args.threads, first_size, args.batch)
        detectors = {config: load_detector(config, args.checkpoint) for config in args.configs}
        if args.score_thr is not None:
            for detector in detectors.values():
                set_score_thr(detector, args.score_thr)
        if exported:
            # Not above, since timing in eager mode needs no onnx.
            from exported import count_macs, exported_calls, to_graph

            graphs = {Path(config).stem: to_graph(detector) for config, detector in detectors.items()}
    except (OSError, ImportError, ValueError, NotImplementedError) as error:
        parser.error(str(error))
    images = {
        size: [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for _ in range(args.batch)]
        for size in sizes.values()
    }
    eager_calls, inputs = {}, {}
    for config, size in sizes.items():
        name = Path(config).stem
        eager_calls[name], inputs[name] = detector_call(detectors[config], images[size]), images[size]
    first_images = images[first_size]
    for name in args.baselines:
        inputs[name] = first_images
        if name in TORCHVISION:
            baseline = build_torchvision(name, first_size[1], args.score_thr)
            eager_calls[name] = lambda baseline=baseline: baseline([image.float() / 255 for image in first_images])
        else:
            baseline = build_mmdet(name, args.score_thr)
            eager_calls[name] = detector_call(baseline, first_images)
        if exported:
            graphs[name] = to_graph(baseline)
    macs = {}
    for name, call in eager_calls.items():
        if 'eager' in args.backends:
            calls[name, 'eager'] = call
        if exported:
            print(f'exporting {name}', file=sys.stderr)
            array = torch.stack(inputs[name]).permute(0, 2, 3, 1).contiguous().numpy()
            macs[name] = count_macs(graphs[name], array)
            for backend, exported_call in exported_calls(graphs[name], array, exported, args.threads).items():
                calls[name, backend] = exported_call
    # Backend by backend, so that a runtime finds its own threads awake.
    calls = {key: calls[key] for backend in args.backends for key in calls if key[1] == backend}
    matrix = torch.rand(GEMM_SIDE, GEMM_SIDE)
    with torch.inference_mode():
        times = time_rounds({**calls, 'gemm': lambda: matrix @ matrix}, args.rounds, args.warmup)
    gemm = times.pop('gemm')

    threshold = 'own score thresholds' if args.score_thr is None else f'score threshold {args.score_thr}'
    pixels = ', '.join(f'{width}x{height}' for height, width in images)
    versions = package_versions(['torch', 'torchvision', 'mmdet', *exported])
    peak = 2e-6 * GEMM_SIDE**3 / statistics.median(gemm)
    print(
        f'{cpu_name()}; {versions}; {args.threads} thread(s), batch {args.batch}, {pixels} px, '
        f'{threshold}, {args.rounds} rounds after {args.warmup}; matrix product of {GEMM_SIDE}x{GEMM_SIDE}: '
        f'{peak:.0f} GFLOP/s'
    )
    for backend in args.backends:
        of_backend = {name: times[name, backend] for name in names if (name, backend) in times}
        shown = [name for name in references if name in of_backend]
        extra = {}
        if exported:
            extra['MMACs'] = {name: f'{macs[name] / 1e6:.0f}' for name in macs}
            extra['share of the peak'] = {
                name: f'{median_ratio(gemm, values) * macs[name] / GEMM_SIDE**3:.0%}'
                for name, values in of_backend.items()
                if name in macs
            }
        if backend == 'onnxruntime' and 'openvino' in args.backends:
            extra['ratio to OpenVINO'] = {
                name: f'{median_ratio(values, times[name, "openvino"]):.2f}x' for name, values in of_backend.items()
            }
        print(f'\n{backend}\n\n{markdown(of_backend, shown, extra)}')
    if args.csv:
        write_csv(times, args.csv)


if __name__ == '__main__':
    main()
