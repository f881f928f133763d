"""Draws AP against the minutes of training and against latency."""

from pathlib import Path
from typing import Dict, List, Tuple

import pandas as pd
from matplotlib.figure import Figure


def plot(rows: pd.DataFrame, curves: Dict[str, List[Tuple[float, float]]], path: Path) -> None:
    """Draw a comparison as a picture; the panel of latency is left out where none is measured.

    Args:
        rows (pd.DataFrame): Results with the columns ``detector``, ``AP`` and, where they are measured,
            ``openvino_ms`` and ``onnxruntime_ms``.
        curves (dict[str, list[tuple[float, float]]]): Minutes and AP of the validations by detector.
        path (Path): File of the picture.
    """
    backends = {
        label: (column, marker)
        for label, column, marker in (('OpenVINO', 'openvino_ms', 's'), ('ONNX Runtime', 'onnxruntime_ms', '^'))
        if column in rows and rows[column].notna().any()
    }
    panels = 2 if backends else 1
    figure = Figure(figsize=(6 * panels, 5), layout='constrained')
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    for number, (name, curve) in enumerate(curves.items()):
        color = f'C{number % 10}'
        if curve:
            axes[0].plot(*zip(*curve), marker='o', color=color, label=name)
        row = rows[rows.detector == name]
        for column, marker in backends.values():
            axes[1].plot(row[column], row.AP, marker, color=color)
    axes[0].set_ylabel('AP')
    axes[0].set_ylim(bottom=0)
    axes[0].set_xlabel('minutes of training')
    axes[0].legend(fontsize='small')
    if backends:
        for label, (_, marker) in backends.items():
            axes[1].plot([], [], marker, color='grey', label=label)
        axes[1].set_xlabel('latency of an image, one thread (ms)')
        axes[1].legend(fontsize='small', loc='lower right')
    for panel in axes:
        panel.set_xlim(left=0)
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
