"""The numpy parts against mmdet's, torchvision's and the project's modules."""

import numpy as np
import pytest
import torch
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder
from torchvision.ops import nms

from mmthunder.export.nms import select_detections as torch_select_detections
from mmthunder.models.layers import PSRoIAlign
from mmthunder.runtime import two_stage


@pytest.fixture
def boxes() -> np.ndarray:
    rng = np.random.default_rng(0)
    corner = rng.random((50, 2)) * 60
    return np.concatenate((corner, corner + rng.random((50, 2)) * 50), 1).astype(np.float32)


def test_anchors():
    generator = AnchorGenerator(strides=[(16, 8)], scales=[2, 4], ratios=[0.5, 1.0, 2.0])
    anchors = two_stage.make_anchors(generator.base_anchors[0].numpy(), (16, 8), 3, 5)
    np.testing.assert_allclose(anchors, generator.grid_priors([(3, 5)], device='cpu')[0])


def test_decode(boxes):
    coder = DeltaXYWHBBoxCoder((0.1, 0, 0, 0.2), (0.1, 0.1, 0.2, 0.3))
    deltas = np.random.default_rng(1).standard_normal((50, 4)).astype(np.float32) * 5
    deltas[0] = 100  # beyond the limit of growth
    expected = coder.decode(torch.from_numpy(boxes), torch.from_numpy(deltas), max_shape=(90, 110))
    limits = np.float32([110, 90, 110, 90])
    decoded = two_stage.decode(boxes, deltas, np.float32(coder.means), np.float32(coder.stds), limits)
    np.testing.assert_allclose(decoded, expected, rtol=1e-4, atol=1e-3)
    assert decoded.dtype == np.float32


def test_nms(boxes):
    scores = np.random.default_rng(1).random(50, np.float32)
    expected = nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.3)
    assert 8 < len(expected) < 45
    assert two_stage.nms(boxes, scores, 0.3, 99).tolist() == expected.tolist()
    assert two_stage.nms(boxes, scores, 0.3, 7).tolist() == expected[:7].tolist()
    assert two_stage.nms(boxes[:0], scores[:0], 0.3, 7).tolist() == []


@pytest.mark.parametrize('pool_mode', ['avg', 'max'])
@pytest.mark.parametrize('options', [dict(), dict(aligned=False, min_size=0.1), dict(sampling_ratio=3)], ids=str)
def test_ps_roi_align(boxes, pool_mode, options):
    layer = PSRoIAlign((7, 3), 1 / 16, pool_mode=pool_mode, **options)
    boxes[:3] = [[-40, -40, 30, 200], [500, 500, 600, 600], [20, 20, 20, 20]]
    feat = torch.randn(1, 2 * 21, 6, 8)
    expected = layer(feat, torch.cat((torch.zeros(50, 1), torch.from_numpy(boxes)), 1))
    pooled = two_stage.ps_roi_align(feat[0].numpy(), boxes, vars(layer))
    assert pooled.shape == (50, 2, 7, 3) and pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, expected, atol=2e-5)


@pytest.mark.parametrize('shared', [True, False])
@pytest.mark.parametrize('score_threshold', [0.6, 2.0])
def test_select_detections(boxes, shared, score_threshold):
    scores = np.random.default_rng(1).random((50, 3), np.float32)
    class_boxes = boxes[:, None] if shared else boxes[:, None] + np.float32([[[0], [5], [9]]])
    expected = torch_select_detections(
        torch.from_numpy(boxes[None] if shared else class_boxes.transpose(1, 0, 2)[None]),
        torch.from_numpy(scores.T[None]),
        score_threshold,
        0.3,
        20,
    )
    found = two_stage.select_detections(class_boxes, scores, score_threshold, 0.3, 20)
    for value, reference in zip(found, expected):
        np.testing.assert_allclose(value, reference[0])
    assert ((found[2] >= 0).sum() == 20) == (score_threshold < 1)
