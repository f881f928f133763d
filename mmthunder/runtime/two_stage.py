"""The parts of a two-stage detector between and after its networks, in NumPy.

For runtimes whose graphs hold the networks alone.
"""

from typing import Tuple

import numpy as np

# mmdet's limit of a box's growth: a side becomes at most 62.5 times as long.
MAX_LOG_RATIO = float(abs(np.log(16 / 1000)))


def make_anchors(base_anchors: np.ndarray, stride: Tuple[int, int], height: int, width: int) -> np.ndarray:
    """Lay anchors over a map, cell by cell and row by row.

    Args:
        base_anchors (np.ndarray): Anchors of the first cell with shape (A, 4).
        stride (tuple[int, int]): Pixels from a cell to the next, along x and y.
        height (int): Cells along y.
        width (int): Cells along x.

    Returns:
        np.ndarray: Anchors as x1, y1, x2, y2 in pixels with shape (height * width * A, 4).
    """
    x, y = np.meshgrid(np.arange(width) * stride[0], np.arange(height) * stride[1])
    shifts = np.stack((x, y, x, y), -1).reshape(-1, 1, 4).astype(np.float32)
    return (shifts + base_anchors).reshape(-1, 4)


def decode(
    boxes: np.ndarray, deltas: np.ndarray, means: np.ndarray, stds: np.ndarray, limits: np.ndarray
) -> np.ndarray:
    """Apply predicted deltas to boxes and clip the results to the image.

    Args:
        boxes (np.ndarray): x1, y1, x2, y2 with shape (..., 4).
        deltas (np.ndarray): dx, dy, dw, dh, normalised, with shape (..., 4).
        means (np.ndarray): Means of the normalisation, (4, ).
        stds (np.ndarray): Standard deviations of the normalisation, (4, ).
        limits (np.ndarray): Width, height, width, height of the image.

    Returns:
        np.ndarray: Boxes with shape (..., 4).
    """
    deltas = deltas * stds + means
    sizes = boxes[..., 2:] - boxes[..., :2]
    centers = (boxes[..., 2:] + boxes[..., :2]) / 2 + sizes * deltas[..., :2]
    sizes = sizes * np.exp(np.clip(deltas[..., 2:], -MAX_LOG_RATIO, MAX_LOG_RATIO))
    return np.clip(np.concatenate((centers - sizes / 2, centers + sizes / 2), -1), 0, limits)


def nms(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float, max_output_boxes: int) -> np.ndarray:
    """Keep the best of overlapping boxes.

    Args:
        boxes (np.ndarray): x1, y1, x2, y2 with shape (R, 4).
        scores (np.ndarray): Scores with shape (R, ).
        iou_threshold (float): A box that overlaps a kept one by more than this is dropped.
        max_output_boxes (int): Most boxes to keep.

    Returns:
        np.ndarray: Indices of the kept boxes, by descending score.
    """
    order = np.argsort(-scores, kind='stable')
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    keep = []
    while order.size and len(keep) < max_output_boxes:
        best, order = order[0], order[1:]
        keep.append(best)
        overlap = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
        intersection = np.maximum(overlap, 0).prod(1)
        union = areas[best] + areas[order] - intersection
        order = order[intersection <= iou_threshold * union]
    return np.array(keep, dtype=np.int64)


def propose(logits: np.ndarray, deltas: np.ndarray, settings: dict, limits: np.ndarray) -> np.ndarray:
    """Turn the RPN's outputs into proposals.

    Args:
        logits (np.ndarray): Objectness with shape (A, H, W).
        deltas (np.ndarray): Box deltas with shape (4 * A, H, W).
        settings (dict): ``base_anchors``, ``stride``, ``means``, ``stds``, ``nms_pre``, ``iou_threshold``,
            ``max_per_img`` and ``min_bbox_size``.
        limits (np.ndarray): Width, height, width, height of the image.

    Returns:
        np.ndarray: Boxes with shape (R, 4).
    """
    height, width = logits.shape[1:]
    anchors = make_anchors(np.float32(settings['base_anchors']), settings['stride'], height, width)
    scores = logits.transpose(1, 2, 0).ravel()
    deltas = deltas.transpose(1, 2, 0).reshape(-1, 4)
    top = np.argsort(-scores, kind='stable')[: settings['nms_pre']]
    boxes = decode(anchors[top], deltas[top], np.float32(settings['means']), np.float32(settings['stds']), limits)
    large = (boxes[:, 2:] - boxes[:, :2] > settings['min_bbox_size']).all(1)
    boxes, scores = boxes[large], scores[top][large]
    return boxes[nms(boxes, scores, settings['iou_threshold'], settings['max_per_img'])]


def ps_roi_align(feat: np.ndarray, boxes: np.ndarray, settings: dict) -> np.ndarray:
    """Pool every bin of every box from the bin's own channels.

    Args:
        feat (np.ndarray): Feature map with shape (C * p_h * p_w, H, W).
        boxes (np.ndarray): x1, y1, x2, y2 in pixels with shape (R, 4).
        settings (dict): ``output_size``, ``spatial_scale``, ``sampling_ratio``, ``pool_mode``, ``aligned``
            and ``min_size``, as the arguments of ``mmthunder.models.PSRoIAlign``.

    Returns:
        np.ndarray: Features with shape (R, C, p_h, p_w).
    """
    p_h, p_w = settings['output_size']
    height, width = feat.shape[1:]
    samples = settings['sampling_ratio']
    boxes = boxes * np.float32(settings['spatial_scale']) - np.float32(0.5 if settings['aligned'] else 0)
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], settings['min_size'])

    def axis(start: np.ndarray, size: np.ndarray, bins: int, cells: int) -> tuple:
        """Cells before and after each sample, their distance, and whether the sample is on the map: (R, bins, s)."""
        steps = (np.arange(bins * samples, dtype=np.float32) + 0.5) / (bins * samples)
        points = (start[:, None] + size[:, None] * steps).reshape(-1, bins, samples)
        inside = (points >= -1) & (points <= cells)
        points = np.clip(points, 0, cells - 1)
        floor = np.floor(points)
        first = floor.astype(np.int64)
        return first, np.minimum(first + 1, cells - 1), points - floor, inside

    x0, x1, x, x_inside = (value[:, None, None, :, None, :] for value in axis(boxes[:, 0], sizes[:, 0], p_w, width))
    y0, y1, y, y_inside = (value[:, None, :, None, :, None] for value in axis(boxes[:, 1], sizes[:, 1], p_h, height))
    # Everything below has shape (R, C, p_h, p_w, s, s).
    channel = np.arange(feat.shape[0]).reshape(1, -1, p_h, p_w, 1, 1)
    values = (
        feat[channel, y0, x0] * (1 - y) * (1 - x)
        + feat[channel, y0, x1] * (1 - y) * x
        + feat[channel, y1, x0] * y * (1 - x)
        + feat[channel, y1, x1] * y * x
    ) * (y_inside & x_inside)
    return values.max((-2, -1)) if settings['pool_mode'] == 'max' else values.mean((-2, -1))


def select_detections(
    boxes: np.ndarray, scores: np.ndarray, score_threshold: float, iou_threshold: float, max_per_img: int
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep the best detections: NMS of each class, then the highest scores of all classes.

    Args:
        boxes (np.ndarray): Boxes with shape (R, 1, 4), or (R, C, 4) if each class has its own.
        scores (np.ndarray): Scores with shape (R, C).
        score_threshold (float): Detections have scores above this.
        iou_threshold (float): A box that overlaps a better one of its class by more is dropped.
        max_per_img (int): Most detections; all if it is not positive.

    Returns:
        tuple[np.ndarray]: Boxes (M, 4), scores (M, ) in descending order and labels (M, ), padded to
        ``max_per_img``, if that is positive, with zeros and labels of -1.
    """
    limit = max_per_img if max_per_img > 0 else boxes.shape[0] * scores.shape[1]
    found = [(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))]
    for label in range(scores.shape[1]):
        above = np.flatnonzero(scores[:, label] > score_threshold)
        class_boxes = boxes[above, label if boxes.shape[1] > 1 else 0]
        class_scores = scores[above, label]
        keep = nms(class_boxes, class_scores, iou_threshold, limit)
        found.append((class_boxes[keep], class_scores[keep], np.full(len(keep), label)))
    boxes, scores, labels = (np.concatenate(values) for values in zip(*found))
    best = np.argsort(-scores, kind='stable')[:limit]
    rest = max(max_per_img - len(best), 0)
    return (
        np.pad(boxes[best], ((0, rest), (0, 0))),
        np.pad(scores[best], (0, rest)),
        np.pad(labels[best], (0, rest), constant_values=-1),
    )
