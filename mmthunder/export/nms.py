"""Greedy NMS as one operator of torch and ONNX, and the selection of detections with it."""

from typing import Callable, Dict, Tuple

import torch
import torch.nn.functional as F
from onnxscript import BOOL, FLOAT
from onnxscript import opset18 as op
from torch import Tensor
from torchvision.ops import nms


@torch.library.custom_op('mmthunder::nms_mask', mutates_args=())
def nms_mask(
    boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, max_output_boxes: int
) -> Tensor:
    """Mark the boxes that greedy NMS keeps, for each image and class separately.

    Unlike :func:`torchvision.ops.nms` the result has a shape that does not depend on the values, and
    images and classes are batched, which is how ONNX's NonMaxSuppression takes them.

    Args:
        boxes (Tensor): Boxes as x1, y1, x2, y2 with shape (N, R, 4), shared by the classes.
        scores (Tensor): Scores with shape (N, C, R).
        iou_threshold (float): A box that overlaps a kept one by more than this is dropped.
        score_threshold (float): Boxes are kept only with scores above this.
        max_output_boxes (int): Most boxes to keep for each image and class.

    Returns:
        Tensor: Whether each box is kept, a bool tensor with shape (N, C, R).
    """
    mask = torch.zeros_like(scores, dtype=torch.bool)
    for image_boxes, image_scores, image_mask in zip(boxes, scores, mask):
        for class_scores, class_mask in zip(image_scores, image_mask):
            above = (class_scores > score_threshold).nonzero().squeeze(1)
            keep = nms(image_boxes[above], class_scores[above], iou_threshold)[:max_output_boxes]
            class_mask[above[keep]] = True
    return mask


@nms_mask.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, max_output_boxes: int) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def _onnx_nms_mask(
    boxes: FLOAT, scores: FLOAT, iou_threshold: float, score_threshold: float, max_output_boxes: int
) -> BOOL:
    """Build the same in ONNX: the (image, class, box) triplets of NonMaxSuppression are scattered into a mask."""
    kept = op.NonMaxSuppression(
        boxes,
        scores,
        op.Constant(value_ints=[max_output_boxes]),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[score_threshold]),
    )
    zeros = op.Mul(scores, 0.0)
    ones = op.Expand(op.Constant(value_floats=[1.0]), op.Slice(op.Shape(kept), [0], [1]))
    return op.Cast(op.ScatterND(zeros, kept, ones), to=9)


# For torch.onnx.export.
ONNX_TRANSLATION: Dict[Callable, Callable] = {torch.ops.mmthunder.nms_mask.default: _onnx_nms_mask}


def top_k(scores: Tensor, k: int, fill: float) -> Tuple[Tensor, Tensor]:
    """Find the highest scores.

    Args:
        scores (Tensor): Scores with shape (N, R).
        k (int): How many to find.
        fill (float): A value below all scores.

    Returns:
        tuple[Tensor, Tensor]: The scores in descending order and their indices, both (N, min(k, R)). In a
        graph where R varies they are (N, k), and what is missing has the score ``fill``.
    """
    count = scores.shape[1]
    if isinstance(count, int):
        return scores.topk(min(k, count))
    # Shapes that depend on whether there are k scores would grow into long formulas.
    values, index = F.pad(scores, (0, k), value=fill).topk(k)
    return values, index.clamp(max=count - 1)


def select_detections(
    boxes: Tensor, scores: Tensor, score_threshold: float, iou_threshold: float, max_per_img: int
) -> Tuple[Tensor, Tensor, Tensor]:
    """Keep the best detections: greedy NMS of each class, then the highest scores of all classes.

    Args:
        boxes (Tensor): Boxes as x1, y1, x2, y2 with shape (N, R, 4), or (N, C, R, 4) if each class has
            its own.
        scores (Tensor): Scores with shape (N, C, R), at least 0.
        score_threshold (float): Detections have scores above this.
        iou_threshold (float): A box that overlaps a better one of its class by more is dropped.
        max_per_img (int): Most detections of an image; all if it is not positive, as in mmdet.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Boxes (N, M, 4), scores (N, M) in descending order and labels (N, M).
        M is ``max_per_img``, or C * R if that is less or all are kept; where an image has fewer detections the rest has
        label -1, score 0 and a box of zeros.
    """
    num_imgs, _, num_boxes = scores.shape
    shared = boxes.ndim == 3
    if max_per_img <= 0:
        max_per_img = scores.shape[1] * num_boxes
    # Classes with boxes of their own are images of one class to the NMS.
    nms_scores = scores if shared else scores.reshape(-1, 1, num_boxes)
    keep = nms_mask(boxes.reshape(-1, num_boxes, 4), nms_scores, iou_threshold, score_threshold, max_per_img)
    candidates = torch.where(keep.reshape(num_imgs, -1), scores.reshape(num_imgs, -1), 0.0)
    scores, index = top_k(candidates, max_per_img, 0.0)
    box_index = index % num_boxes if shared else index
    boxes = boxes.reshape(num_imgs, -1, 4).gather(1, box_index[..., None].expand(-1, -1, 4))
    found = scores > 0
    return boxes * found[..., None], scores, torch.where(found, index // num_boxes, -1)
