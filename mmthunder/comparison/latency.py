"""Times the exported detectors of a comparison beside each other."""

from pathlib import Path
from typing import Dict

import numpy as np
import pandas as pd
import torch

from mmthunder.apis import load_detector
from mmthunder.planning.quiet import quiet
from mmthunder.tools.analysis_tools.benchmark_latency import time_rounds
from mmthunder.tools.analysis_tools.exported import count_macs, exported_calls, to_graph

BACKENDS = ('openvino', 'onnxruntime')


def measure(detectors: Dict[str, Dict[str, Path]], rounds: int = 30) -> pd.DataFrame:
    """Count and time trained detectors at their input size, on one thread.

    Args:
        detectors (dict[str, dict[str, Path]]): ``config`` and ``checkpoint`` by detector, and ``size``, a pair of
            width and height in pixels.
        rounds (int): Rounds, of which each calls each detector once in each backend. Defaults to 30.

    Returns:
        pd.DataFrame: ``mparams``, ``mmacs`` and the medians ``openvino_ms`` and ``onnxruntime_ms`` by detector; the
        latter are missing for detectors that cannot be exported.
    """
    torch.set_num_threads(1)
    calls, rows = {}, {}
    for name, files in detectors.items():
        with quiet():
            detector = load_detector(str(files['config']), str(files['checkpoint']))
            rows[name] = dict(mparams=sum(each.numel() for each in detector.parameters()) / 1e6)
            width, height = files['size']
            images = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
            try:
                graph = to_graph(detector)
                rows[name]['mmacs'] = count_macs(graph, images) / 1e6
                for backend, call in exported_calls(graph, images, BACKENDS, 1).items():
                    calls[f'{backend}_ms', name] = call
            except NotImplementedError as error:
                rows[name]['note'] = str(error)
    if calls:
        # Backend by backend, so that a runtime finds its own threads awake.
        ordered = {key: calls[key] for key in sorted(calls, key=lambda key: key[0])}
        medians = time_rounds(ordered, rounds, 3).median()
        for (column, name), value in medians.items():
            rows[name][column] = value
    return pd.DataFrame.from_dict(rows, orient='index')
