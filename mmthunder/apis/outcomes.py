"""All detections that are possible for an image, whatever the order of equal scores.

Sorting and NMS process equal scores in an arbitrary order, and runtimes differ in the last digits of scores. Which of
two overlapping boxes with equal scores is kept, and which boxes that one suppresses in turn, is therefore arbitrary.
"""

import copy
from typing import NamedTuple, Optional, Tuple

import numpy as np
import torch
from mmdet.models.detectors import TwoStageDetector
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import box_iou

from .image_pipeline import ImagePipeline

# Relative difference up to which scores count as equal; runtimes differ by about 1e-6.
SCORE_TOLERANCE = 1e-5
# mmcv's NMS adds an offset to the boxes of each class, which costs digits of the IoU.
IOU_TOLERANCE = 1e-4
# Most candidates of an NMS, since their overlaps are a matrix.
MAX_CANDIDATES = 8192


class Outcomes(NamedTuple):
    """All K detections that are possible for an image.

    Attributes:
        boxes (np.ndarray): x1, y1, x2, y2 in pixels of the image, (K, 4).
        scores (np.ndarray): (K, ).
        labels (np.ndarray): (K, ).
        certain (np.ndarray): Whether it is kept for every order of equal scores, (K, ).
        suppressible (np.ndarray): Whether it can only be missing because a kept box suppresses it, (K, ).
        iou_threshold (float): That of the final NMS.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    certain: np.ndarray
    suppressible: np.ndarray
    iou_threshold: float


def keep_highest(scores: Tensor, certain: Tensor, possible: Tensor, count: int) -> Tuple[Tensor, Tensor]:
    """Decide which scores are among the highest, whatever the order of equal ones.

    Args:
        scores (Tensor): Scores with shape (K, ).
        certain (Tensor): Whether each certainly exists, (K, ).
        possible (Tensor): Whether each may exist, (K, ).
        count (int): How many are kept; all if it is not positive.

    Returns:
        tuple[Tensor, Tensor]: Whether each is certainly kept, and whether it may be kept, both (K, ).
    """
    if count <= 0:
        return certain, possible
    margin = scores.abs() * SCORE_TOLERANCE
    higher = torch.sort(scores[certain])[0]
    before = len(higher) - torch.searchsorted(higher, scores + margin, right=True)
    rivals = torch.sort(scores[possible])[0]
    # Itself is among its rivals.
    not_after = len(rivals) - torch.searchsorted(rivals, scores - margin)
    return certain & (not_after <= count), possible & (before < count)


def nms_outcomes(boxes: Tensor, scores: Tensor, certain: Tensor, iou_threshold: float) -> Tuple[Tensor, Tensor]:
    """Decide what greedy NMS keeps, whatever the order of equal scores.

    Args:
        boxes (Tensor): Boxes with shape (K, 4).
        scores (Tensor): Scores with shape (K, ).
        certain (Tensor): Whether each box certainly exists, (K, ).
        iou_threshold (float): A box that overlaps a kept one by more than this is dropped.

    Returns:
        tuple[Tensor, Tensor]: Whether each is certainly kept, and whether it may be kept, both (K, ).
    """
    overlap = box_iou(boxes, boxes)
    overlap.fill_diagonal_(0)
    margin = scores.abs() * SCORE_TOLERANCE
    # Entry (i, j): whether j, if it is kept, certainly suppresses i, and whether it may.
    suppresses = (overlap > iou_threshold + IOU_TOLERANCE) & (scores > (scores + margin)[:, None])
    may_suppress = (overlap > iou_threshold - IOU_TOLERANCE) & (scores >= (scores - margin)[:, None])
    kept, possible = torch.zeros_like(certain), torch.ones_like(certain)
    while True:
        new_kept = certain & ~(may_suppress & possible).any(1)
        possible = ~(suppresses & new_kept).any(1)
        if torch.equal(new_kept, kept):
            return kept, possible
        kept = new_kept


def _proposals(detector: TwoStageDetector, feats: Tuple[Tensor, ...], metas: list) -> Optional[Tuple[Tensor, Tensor]]:
    """Find the boxes that may be proposals, (R, 4), and whether each certainly is one, (R, )."""
    found = []
    head = copy.copy(detector.rpn_head)
    # mmdet's own decoding of all anchors; an attribute of this copy takes the place of the method that does NMS.
    head._bbox_post_process = lambda results, **kwargs: found.append(results)
    cfg = copy.deepcopy(head.test_cfg)
    nms_pre, cfg.nms_pre = cfg.get('nms_pre', -1), -1
    head.predict_by_feat(*head(feats), batch_img_metas=metas, cfg=cfg)
    (candidates,) = found
    size = candidates.bboxes[:, 2:] - candidates.bboxes[:, :2]
    large = (size > cfg.get('min_bbox_size', -1)).all(1) | (cfg.get('min_bbox_size', -1) < 0)
    levels = []
    for level in candidates.level_ids.unique():
        chosen = candidates.level_ids == level
        boxes, scores = candidates.bboxes[chosen], candidates.scores[chosen]
        everything = torch.ones_like(chosen[chosen])
        certain, possible = keep_highest(scores, everything, everything, nms_pre)
        possible &= large[chosen]
        boxes, scores, certain = boxes[possible], scores[possible], certain[possible]
        ranked = scores.sort(descending=True, stable=True)[1][:MAX_CANDIDATES]
        boxes, scores, certain, left_out = boxes[ranked], scores[ranked], certain[ranked], len(scores) - len(ranked)
        kept, may_be_kept = nms_outcomes(boxes, scores, certain, cfg.nms.iou_threshold)
        if left_out and (kept & (scores > scores[-1] * (1 + SCORE_TOLERANCE))).sum() < cfg.max_per_img:
            return None  # those left out may be proposals
        levels.append((boxes, scores, kept, may_be_kept))
    boxes, scores, certain, possible = map(torch.cat, zip(*levels))
    certain, possible = keep_highest(scores, certain, possible, cfg.max_per_img)
    return boxes[possible], certain[possible]


@torch.no_grad()
def find_outcomes(
    detector: TwoStageDetector, image: np.ndarray, pipeline: ImagePipeline, min_score: float
) -> Optional[Outcomes]:
    """Find all detections that are possible for an image.

    Boxes and scores are computed by mmdet; only sorting and NMS are analyzed here.

    Args:
        detector (TwoStageDetector): A detector with greedy NMS and mmdet's ``StandardRoIHead``.
        image (np.ndarray): The image, as the pipeline reads it.
        pipeline (ImagePipeline): The test pipeline.
        min_score (float): Detections of lower scores are left out.

    Returns:
        Outcomes, optional: The detections; None if there are too many candidates.
    """
    data = detector.data_preprocessor(pipeline(image), False)
    feats = detector.extract_feat(data['inputs'])
    metas = [sample.metainfo for sample in data['data_samples']]
    proposals = _proposals(detector, feats, metas)
    if proposals is None:
        return None
    rois, roi_certain = proposals
    cfg = detector.roi_head.test_cfg
    (results,) = detector.roi_head.predict_bbox(feats, metas, [InstanceData(bboxes=rois)], None, rescale=True)
    lowest = max(cfg.score_thr, min_score)
    parts = []
    for label in range(results.scores.shape[1] - 1):
        scores = results.scores[:, label]
        above = scores > lowest * (1 - SCORE_TOLERANCE)
        if above.sum() > MAX_CANDIDATES:
            return None
        boxes = results.bboxes.reshape(len(scores), -1, 4)[above]
        boxes = boxes[:, label if boxes.shape[1] > 1 else 0]
        scores = scores[above]
        exists = roi_certain[above] & (scores > lowest * (1 + SCORE_TOLERANCE))
        certain, possible = nms_outcomes(boxes, scores, exists, cfg.nms.iou_threshold)
        labels = torch.full_like(scores, label, dtype=torch.long)
        parts.append((boxes, scores, labels, certain, possible, exists))
    boxes, scores, labels, certain, possible, exists = map(torch.cat, zip(*parts))
    limited, alive = keep_highest(scores, possible, possible, cfg.max_per_img)
    certain, alive = keep_highest(scores, certain, possible, cfg.max_per_img)
    columns = (boxes, scores, labels, certain, exists & limited)
    return Outcomes(*(column[alive].cpu().numpy() for column in columns), cfg.nms.iou_threshold)
