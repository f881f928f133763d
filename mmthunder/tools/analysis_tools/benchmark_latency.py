"""Time detectors on the CPU beside others, in one run.

    python tools/analysis_tools/benchmark_latency.py configs/thundernet/snet49_coco.py \
        --threads 1 \
        --backends eager onnxruntime openvino

Every round calls each model once in each backend, so that a machine that slows down does so for all of
them; ratios are taken round by round. A call goes from a uint8 image in memory to boxes. In eager mode
it is mmdet's ``test_step`` for a config and for mmdet's own detectors, and ``model([image])`` for
torchvision's; in the other backends it is one exported graph with everything in it. ``--files`` adds
files that were exported before, for instance INT8 ones. The baselines' images have the first config's
size. All models but the files have one score threshold and one maximum of detections, and so the same
work after their networks; with ``--own-settings`` each has its own. Weights are random unless a
checkpoint is given.

The share of the peak is the time of a model's multiply-adds at the speed of a large matrix product,
which is measured in each round too, over the time of the model.
"""

import argparse
import importlib
import logging
import platform
import sys
import time
import warnings
from pathlib import Path
from typing import Callable, Dict, Hashable, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import pandas as pd
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.utils import ProgressBar

from mmthunder.apis import limit_detections, load_detector
from mmthunder.runtime.sessions import open_session
from mmthunder.tools.analysis_tools.baselines import MMDET, TORCHVISION, build_mmdet, build_torchvision
from mmthunder.tools.analysis_tools.complexity import input_size
from mmthunder.tools.arguments import at_least
from mmthunder.tools.runtimes import RUNTIMES
from mmthunder.utils.other_load import describe_other_load

BASELINES = (*TORCHVISION, *MMDET)
GEMM_SIDE = 1024


def cpu_name() -> str:
    """Return the name of the processor."""
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def package_versions(packages: Sequence[str]) -> str:
    """List the packages' ``__version__``: forks and CUDA builds are distributed under other names."""
    # The rest of OpenVINO's names the build.
    return ', '.join(f'{name} {importlib.import_module(name).__version__.split("-")[0]}' for name in packages)


def detector_call(model: torch.nn.Module, images: List[torch.Tensor]) -> Callable[[], object]:
    """Return a call of mmdet's ``test_step`` on images (3, H, W) in uint8."""
    height, width = images[0].shape[-2:]
    meta = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0), img_id=0)

    def call() -> object:
        samples = [DetDataSample(metainfo=meta) for _ in images]
        return model.test_step(dict(inputs=images, data_samples=samples))

    return call


def file_calls(
    paths: Sequence[str], backends: Sequence[str], threads: int, size: Tuple[int, int], batch: int
) -> Dict[Tuple[str, str], Callable[[], object]]:
    """Return calls of exported files.

    Args:
        paths (Sequence[str]): ONNX files, which every backend runs, and files of OpenVINO (.xml).
        backends (Sequence[str]): Some of :data:`RUNTIMES`.
        threads (int): Threads of a call.
        size (tuple[int, int]): Height and width of the images for files that take every size.
        batch (int): Images of a call for files that take any number.

    Returns:
        dict[tuple[str, str], Callable]: The calls by name of the file and backend.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If a backend is not installed.
        ValueError: If a file cannot be loaded, none of the backends runs it, or the processor lacks a precision.
    """
    calls = {}
    for path in paths:
        fitting = [
            backend for backend in backends if RUNTIMES[backend]['backend'] == 'openvino' or not path.endswith('.xml')
        ]
        if not fitting:
            raise ValueError(f'{path}: none of the chosen backends runs it; add --backends openvino')
        for backend in fitting:
            session = open_session(path, threads=threads, **RUNTIMES[backend])
            shape = [fixed or free for fixed, free in zip(session.input_shape, (batch, *size, 3))]
            images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
            calls[Path(path).name, backend] = lambda session=session, images=images: session.run(images)
    return calls


def time_rounds(
    calls: Mapping[Hashable, Callable[[], object]],
    rounds: int,
    warmup: int,
    clock: Callable[[], float] = time.perf_counter,
) -> pd.DataFrame:
    """Time the calls, each once a round.

    Args:
        calls (Mapping[Hashable, Callable]): The calls by name.
        rounds (int): Rounds that count.
        warmup (int): Rounds before them.
        clock (Callable): Seconds since some time. Defaults to ``time.perf_counter``.

    Returns:
        pd.DataFrame: Milliseconds, with a row for each round and a column for each call.
    """
    times: Dict[Hashable, List[float]] = {name: [] for name in calls}
    bar = ProgressBar(rounds + warmup)
    for _ in range(rounds + warmup):
        for name, call in calls.items():
            start = clock()
            call()
            times[name].append((clock() - start) * 1000)
        bar.update()
    print()
    return pd.DataFrame(times)[warmup:]


def summarise(
    times: pd.DataFrame, references: Sequence[str], extra: Optional[Dict[str, Dict[str, str]]] = None
) -> pd.DataFrame:
    """Tabulate medians, the spread from the 10th to the 90th percentile, and ratios.

    Args:
        times (pd.DataFrame): Milliseconds, with a row for each round and a column for each model.
        references (Sequence[str]): Models to give ratios to.
        extra (dict[str, dict[str, str]], optional): More columns: by their heads, entries by model.
            Defaults to None.

    Returns:
        pd.DataFrame: A row of text for each model. A ratio is the median of the rounds' ratios.
    """
    low, median, high = times.quantile([0.1, 0.5, 0.9]).to_numpy()
    table = {
        'model': times.columns,
        'median ms': [f'{value:.1f}' for value in median],
        'p10-p90 ms': [f'{start:.1f}-{end:.1f}' for start, end in zip(low, high)],
    }
    for name in references:
        table[f'ratio to {name}'] = [f'{ratio:.2f}x' for ratio in times.div(times[name], axis=0).median()]
    for head, entries in (extra or {}).items():
        table[head] = [entries.get(name, '') for name in times.columns]
    return pd.DataFrame(table)


def main() -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('configs', nargs='+', help='configs to time')
    parser.add_argument('--checkpoint', help='weights, where there is one config')
    parser.add_argument(
        '--backends', nargs='+', choices=('eager', *RUNTIMES), default=['eager'], help='what runs the models'
    )
    parser.add_argument(
        '--size', type=at_least(32), help="side of the images, in pixels; each config's own if not given"
    )
    parser.add_argument('--batch', type=at_least(1), default=1, help='images of a call')
    parser.add_argument('--threads', type=at_least(1), default=1, help='threads')
    parser.add_argument('--rounds', type=at_least(1), default=50, help='rounds that count')
    parser.add_argument('--warmup', type=at_least(0), default=5, help='rounds before them')
    parser.add_argument('--score-thr', type=float, default=0.05, help='score threshold of all models')
    parser.add_argument('--max-per-img', type=at_least(1), default=100, help='most detections of all models')
    parser.add_argument(
        '--own-settings', action='store_true', help='each model with its own score threshold and most detections'
    )
    parser.add_argument('--require-idle', action='store_true', help='do not run beside busy processes')
    parser.add_argument(
        '--cpu-time',
        action='store_true',
        help='processor time of all threads instead of elapsed time, which other processes disturb more',
    )
    parser.add_argument(
        '--baselines',
        nargs='*',
        choices=BASELINES,
        default=TORCHVISION,
        metavar='NAME',
        help=f'detectors to time beside them: {", ".join(BASELINES)}',
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
        help='configs, baselines or files to give ratios to, as the table names them; by default all baselines',
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
    load = describe_other_load()
    if load and args.require_idle:
        parser.error(load)
    if load:
        print(f'warning: {load}', file=sys.stderr)
    score_thr, max_per_img = (None, None) if args.own_settings else (args.score_thr, args.max_per_img)
    logging.disable(logging.WARNING)
    warnings.filterwarnings('ignore')
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    graphs = {}
    try:
        sizes = {
            config: (args.size, args.size) if args.size else input_size(Config.fromfile(config))
            for config in args.configs
        }
        first_size = sizes[args.configs[0]]
        calls = file_calls(args.files, exported, args.threads, first_size, args.batch)
        detectors = {config: load_detector(config, args.checkpoint) for config in args.configs}
        if not args.own_settings:
            for detector in detectors.values():
                limit_detections(detector, score_thr, max_per_img)
        if exported:
            # Not above, since timing in eager mode needs no onnx.
            from mmthunder.tools.analysis_tools.exported import count_macs, exported_calls, to_graph

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
            baseline = build_torchvision(name, first_size[1], score_thr, max_per_img)
            eager_calls[name] = lambda baseline=baseline: baseline([image.float() / 255 for image in first_images])
        else:
            baseline = build_mmdet(name)
            if not args.own_settings:
                limit_detections(baseline, score_thr, max_per_img)
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
        clock = time.process_time if args.cpu_time else time.perf_counter
        times = time_rounds({**calls, 'gemm': lambda: matrix @ matrix}, args.rounds, args.warmup, clock)
    gemm = times.pop('gemm')

    settings = f'score threshold {score_thr}, at most {max_per_img} detections'
    if args.own_settings:
        settings = 'own score thresholds and maximums of detections'
    measured = 'processor time' if args.cpu_time else 'elapsed time'
    pixels = ', '.join(f'{width}x{height}' for height, width in images)
    runtimes = dict.fromkeys(RUNTIMES[backend]['backend'] for backend in exported)
    versions = package_versions(['torch', 'torchvision', 'mmdet', *runtimes])
    peak = 2e-6 * GEMM_SIDE**3 / gemm.median()
    print(
        f'{cpu_name()}; {versions}; {args.threads} thread(s), batch {args.batch}, {pixels} px, '
        f'{settings}, {measured} of {args.rounds} rounds after {args.warmup}; '
        f'matrix product of {GEMM_SIDE}x{GEMM_SIDE}: {peak:.0f} GFLOP/s'
    )
    times.columns = pd.MultiIndex.from_tuples(times.columns, names=['model', 'backend'])
    for backend in args.backends:
        of_backend = times.xs(backend, axis=1, level='backend').reindex(columns=names).dropna(axis=1)
        shown = [name for name in references if name in of_backend]
        extra = {}
        if exported:
            extra['MMACs'] = {name: f'{macs[name] / 1e6:.0f}' for name in macs}
            shares = {name: (gemm / of_backend[name]).median() * macs[name] / GEMM_SIDE**3 for name in macs}
            extra['share of the peak'] = {name: f'{share:.0%}' for name, share in shares.items()}
        if backend in exported and 'openvino' in set(exported) - {backend}:
            ratios = (of_backend / times.xs('openvino', axis=1, level='backend')).median()
            extra['ratio to OpenVINO'] = {name: f'{ratios[name]:.2f}x' for name in of_backend}
        print(f'\n{backend}\n\n{summarise(of_backend, shown, extra).to_markdown(index=False, disable_numparse=True)}')
    if args.csv:
        percentiles = times.quantile([0.5, 0.1, 0.9]).T.round(2).set_axis(['median_ms', 'p10_ms', 'p90_ms'], axis=1)
        percentiles.reset_index().to_csv(args.csv, index=False)


if __name__ == '__main__':
    main()
