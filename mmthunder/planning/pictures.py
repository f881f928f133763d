"""Pictures of a plan: annotated images as the network sees them, and box sizes against anchors."""

from pathlib import Path
from typing import Sequence

import cv2
import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from mmdet.visualization import DetLocalVisualizer
from torchvision.utils import make_grid

from .pipeline_boxes import PipelineSample
from .plan import Plan

COLUMNS, ROWS = 4, 3
MARGIN = 8  # px


def draw_samples(sample: PipelineSample, classes: Sequence[str], path: Path) -> None:
    """Draw a sheet of training images with their boxes, as they come out of the training pipeline.

    Args:
        sample (PipelineSample): The images.
        classes (Sequence[str]): The class list.
        path (Path): The picture to write.
    """
    visualizer = DetLocalVisualizer(name=str(path))
    colors = [
        tuple(int(255 * v) for v in matplotlib.colormaps['hsv'](i / len(classes))[:3]) for i in range(len(classes))
    ]
    # Matplotlib takes what is between two dollars for mathematics.
    names = tuple(name.replace('$', r'\$') for name in classes)
    visualizer.dataset_meta = dict(classes=names, palette=colors)
    order = np.linspace(0, len(sample.images) - 1, min(COLUMNS * ROWS, len(sample.images))).round().astype(int)
    tiles = []
    for index in np.unique(order):
        visualizer.add_datasample(
            '', sample.images[index][..., ::-1], sample.samples[index], draw_pred=False, show=False
        )
        tiles.append(torch.from_numpy(visualizer.get_image().copy()).permute(2, 0, 1))
    sheet = make_grid(torch.stack(tiles), COLUMNS, MARGIN, pad_value=255).permute(1, 2, 0).numpy()[..., ::-1]
    cv2.imwrite(str(path), sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])


def draw_anchors(boxes: np.ndarray, plan: Plan, path: Path) -> None:
    """Plot widths and heights of boxes as the network sees them, with the anchors.

    Args:
        boxes (np.ndarray): (x1, y1, x2, y2) in pixels, (N, 4).
        plan (Plan): The plan, with anchors.
        path (Path): The picture to write.
    """
    anchors, stride, (columns, rows) = plan.value('anchors'), plan.value('stride'), plan.value('input_size')
    figure = Figure(figsize=(6, 6), layout='constrained')
    axes = figure.subplots()
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    axes.scatter(width, height, s=4, alpha=0.3, color='tab:blue', linewidths=0, label=f'{len(boxes)} boxes')
    axes.scatter(*zip(*anchors), s=60, marker='+', color='tab:red', label=f'{len(anchors)} anchors')
    for limit in (axes.axvline, axes.axhline):
        limit(stride, color='grey', linewidth=0.8, linestyle=':')
    axes.set(
        xlabel='width (px)',
        ylabel='height (px)',
        title=f'Boxes in the input of {columns}x{rows} px; dotted: stride {stride}',
    )
    for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
        scale('log', base=2)
        axis.set_major_formatter(ScalarFormatter())
    axes.set_aspect('equal')
    axes.legend()
    figure.savefig(path, dpi=120)
