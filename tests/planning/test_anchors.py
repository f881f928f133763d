"""Anchors that fit boxes."""

import numpy as np
import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_overlaps

from mmthunder.planning.anchors import best_ious, choose_anchors, fit_anchors


def boxes_of(sizes: np.ndarray, seed: int = 0) -> np.ndarray:
    """Place boxes of some sizes anywhere in 320 px."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, np.maximum(320 - sizes, 1e-3))
    return np.concatenate((corner, corner + sizes), 1)


@pytest.mark.parametrize('stride', [8, 16])
def test_best_iou_is_that_of_mmdets_anchors(stride):
    sizes = np.exp(np.random.default_rng(1).uniform(np.log(6), np.log(200), (300, 2)))
    boxes, anchors = boxes_of(sizes), [(20, 30), (60, 50), (120, 140)]
    generator = TASK_UTILS.build(dict(type='YOLOAnchorGenerator', base_sizes=[anchors], strides=[stride]))
    (priors,) = generator.grid_priors([(320 // stride, 320 // stride)], device='cpu')
    expected = bbox_overlaps(torch.tensor(boxes, dtype=torch.float32), priors).max(1).values
    np.testing.assert_allclose(best_ious(boxes, np.array(anchors), stride), expected, atol=1e-5)


def test_two_sizes_are_found():
    rng = np.random.default_rng(0)
    sizes = np.concatenate((rng.normal((40, 60), 1, (50, 2)), rng.normal((150, 80), 1, (50, 2))))
    np.testing.assert_allclose(fit_anchors(boxes_of(sizes), 2, 16), [[40, 60], [150, 80]], atol=2)


def test_no_more_anchors_than_needed():
    """Boxes of one size need the fewest, boxes of any size and shape the most."""
    same = boxes_of(np.full((200, 2), 90.0))
    assert len(choose_anchors(same, 16)) <= 4
    any_size = boxes_of(np.exp(np.random.default_rng(0).uniform(np.log(20), np.log(250), (500, 2))))
    anchors = choose_anchors(any_size, 16)
    assert len(anchors) >= 16
    assert (best_ious(any_size, np.array(anchors), 16) > 0.5).mean() > 0.85


@pytest.mark.parametrize('count', [1, 2, 3])
def test_few_boxes(count):
    boxes = boxes_of(np.full((count, 2), 64.0))
    anchors = choose_anchors(boxes, 16)
    assert 1 <= len(anchors) <= count and all(abs(side - 64) <= 1 for anchor in anchors for side in anchor)


def test_tiny_boxes_get_anchors_of_half_a_cell():
    assert fit_anchors(boxes_of(np.full((50, 2), 2.0)), 4, 16).min() == 8
    assert len(best_ious(np.zeros((0, 4)), np.array([(8, 8)]), 16)) == 0
