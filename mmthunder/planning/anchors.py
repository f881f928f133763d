"""Anchors that fit the boxes of a data set."""

from typing import List, Tuple

import numpy as np
from scipy.cluster.vq import kmeans2

COUNTS = (4, 6, 9, 12, 16, 20, 25)  # at most the paper's 25
WORTH = 0.01  # recall that an increase of the number must bring


def best_ious(boxes: np.ndarray, anchors: np.ndarray, stride: int) -> np.ndarray:
    """Compute each box's largest IoU with the anchors at all cells of the map.

    Among anchors of one size that one is nearest whose centre is; cells are unbounded here, which only matters to boxes
    that are cut off by the border.

    Args:
        boxes (np.ndarray): (x1, y1, x2, y2) in pixels, (N, 4).
        anchors (np.ndarray): Widths and heights in pixels, (K, 2), centred in the cells as by ``YOLOAnchorGenerator``.
        stride (int): Side of a cell in pixels.

    Returns:
        np.ndarray: (N,), 0 without anchors.
    """
    size = boxes[:, None, 2:] - boxes[:, None, :2]  # (N, 1, 2)
    centre = (boxes[:, None, 2:] + boxes[:, None, :2]) / 2
    offset = np.abs((centre % stride) - stride / 2)
    overlap = (size + anchors) / 2 - offset
    inter = np.clip(np.minimum(overlap, np.minimum(size, anchors)), 0, None).prod(-1)
    union = size.prod(-1) + anchors.prod(-1) - inter
    return (inter / np.maximum(union, 1e-9)).max(1, initial=0)


def fit_anchors(boxes: np.ndarray, count: int, stride: int) -> np.ndarray:
    """Fit anchors to boxes by k-means of their logarithmic widths and heights.

    Args:
        boxes (np.ndarray): (x1, y1, x2, y2) in pixels, (N, 4); N is at least 1.
        count (int): Number of anchors at most.
        stride (int): Side of a cell in pixels, below half of which no anchor is smaller.

    Returns:
        np.ndarray: Widths and heights in whole pixels, ascending by area, (K, 2).
    """
    sizes = np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], stride / 2))
    # A little noise keeps the initial centres apart where many boxes are equal.
    rng = np.random.default_rng(0)
    sizes = sizes + rng.normal(0, 1e-3, sizes.shape)
    centres, _ = kmeans2(sizes, min(count, len(sizes)), minit='++', seed=0, missing='warn')
    anchors = np.unique(np.exp(centres).round(), axis=0)
    return anchors[np.argsort(anchors.prod(1), kind='stable')]


def choose_anchors(boxes: np.ndarray, stride: int) -> List[Tuple[int, int]]:
    """Choose the fewest anchors that match nearly as many boxes at IoU 0.5 as the largest number does.

    Args:
        boxes (np.ndarray): (x1, y1, x2, y2) in pixels as the network sees them in training, (N, 4); N is at least 1.
        stride (int): Side of a cell in pixels.

    Returns:
        list[tuple[int, int]]: Widths and heights in pixels.
    """
    fits = [fit_anchors(boxes, count, stride) for count in COUNTS]
    unmatched = [float((best_ious(boxes, anchors, stride) < 0.5).mean()) for anchors in fits]
    chosen = next(index for index, share in enumerate(unmatched) if share <= min(unmatched) + WORTH)
    return [(int(width), int(height)) for width, height in fits[chosen]]
