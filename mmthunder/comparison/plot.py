"""Draws AP against the minutes of training and against latency."""

from pathlib import Path
from typing import Dict, List, Tuple

import pandas as pd
from matplotlib.figure import Figure


def plot(rows: pd.DataFrame, curves: Dict[str, List[Tuple[float, float]]], path: Path) -> None:
    """Draw a comparison as a picture with two panels.

    Args:
        rows (pd.DataFrame): Results with the columns ``detector``, ``AP`` and, where they are measured,
            ``openvino_ms`` and ``onnxruntime_ms``.
        curves (dict[str, list[tuple[float, float]]]): Minutes and AP of the validations by detector.
        path (Path): File of the picture.
    """
    figure = Figure(figsize=(12, 5), layout='constrained')
    time, latency = figure.subplots(1, 2, sharey=True)
    for number, (name, curve) in enumerate(curves.items()):
        color = f'C{number % 10}'
        if curve:
            time.plot(*zip(*curve), marker='o', color=color, label=name)
        for column, marker in (('openvino_ms', 's'), ('onnxruntime_ms', '^')):
            row = rows[rows.detector == name]
            if column in row and row[column].notna().any():
                latency.plot(row[column], row.AP, marker, color=color)
    for column, marker, label in (('openvino_ms', 's', 'OpenVINO'), ('onnxruntime_ms', '^', 'ONNX Runtime')):
        if column in rows:
            latency.plot([], [], marker, color='grey', label=label)
    if latency.has_data():
        latency.set_xlim(left=0)
        latency.legend(fontsize='small', loc='lower right')
    time.set_xlim(left=0)
    time.set_ylim(bottom=0)
    time.set_ylabel('AP')
    time.set_xlabel('minutes of training')
    latency.set_xlabel('latency of an image, one thread (ms)')
    for axes in (time, latency):
        axes.grid(alpha=0.3)
    time.legend(fontsize='small')
    figure.savefig(path, dpi=120)
