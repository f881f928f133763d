"""What NMS keeps where scores are equal, against every order of the equal scores."""

import functools
import itertools
from typing import Iterator

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from mmthunder.apis import Agreement, ImagePipeline, detect, find_outcomes
from mmthunder.apis import outcomes as outcomes_module
from mmthunder.apis.outcomes import keep_highest, nms_outcomes


def orders(scores: torch.Tensor) -> Iterator[list]:
    """Every descending order of scores, one per order of the equal ones."""
    groups = [torch.nonzero(scores == value).flatten().tolist() for value in scores.unique().flip(0)]
    for permutations in itertools.product(*map(itertools.permutations, groups)):
        yield [i for group in permutations for i in group]


def kept_by_nms(boxes: torch.Tensor, order: list) -> set:
    """What greedy NMS of IoU 0.5 keeps if the boxes come in an order."""
    descending = torch.arange(len(order), 0, -1.0)
    return {order[i] for i in nms(boxes[order], descending, 0.5)}


@pytest.mark.parametrize('seed', range(40))
def test_nms(seed):
    """Certain ones are kept in every order, and what is kept in some order is possible."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(9, 2, generator=generator) * 12
    boxes = torch.cat((corners, corners + 8 + 4 * torch.rand(9, 2, generator=generator)), 1)
    scores = torch.randint(1, 5, (9,), generator=generator) / 5
    kept = [kept_by_nms(boxes, order) for order in orders(scores)]
    certain, possible = nms_outcomes(boxes, scores, torch.ones(9, dtype=torch.bool), 0.5)
    assert set(certain.nonzero().flatten().tolist()) <= set.intersection(*kept)
    assert set.union(*kept) <= set(possible.nonzero().flatten().tolist())


def test_nms_without_ties():
    """Nothing is left open then."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=generator) * 30
    boxes = torch.cat((corners, corners + 8 + 4 * torch.rand(60, 2, generator=generator)), 1)
    scores = torch.randperm(60, generator=generator) / 60 + 0.1
    certain, possible = nms_outcomes(boxes, scores, torch.ones(60, dtype=torch.bool), 0.5)
    assert set(certain.nonzero().flatten().tolist()) == set(nms(boxes, scores, 0.5).tolist())
    assert torch.equal(certain, possible) and 1 < certain.sum() < 60


def test_nms_in_turn():
    """What a tied box would suppress is open as well, what a certain box suppresses is not."""
    # 0 and 1 are tied; 1 suppresses 2, which suppresses 3. 4 is certain and suppresses 5.
    x = torch.tensor([0.0, 3.0, 6.0, 9.0, 50.0, 51.0])
    boxes = torch.stack((x, torch.zeros(6), x + 10, torch.full((6,), 10.0)), 1)
    scores = torch.tensor([0.9, 0.9, 0.8, 0.7, 0.6, 0.5])
    certain, possible = nms_outcomes(boxes, scores, torch.ones(6, dtype=torch.bool), 0.5)
    assert certain.tolist() == [False] * 4 + [True, False]
    assert possible.tolist() == [True] * 5 + [False]
    # A box that may not be there suppresses nothing for certain.
    certain, possible = nms_outcomes(boxes, scores, torch.tensor([True] * 4 + [False, True]), 0.5)
    assert possible[4:].tolist() == [True, True] and certain[4:].tolist() == [False, False]


def test_iou_at_the_threshold():
    """Runtimes round it up or down."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4]])
    certain, possible = nms_outcomes(boxes, torch.tensor([0.9, 0.8, 0.1]), torch.ones(3, dtype=torch.bool), 0.5)
    assert certain.tolist() == [True, False, False] and possible.tolist() == [True, True, True]


@pytest.mark.parametrize('seed', range(20))
def test_keep_highest(seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(1, 5, (7,), generator=generator) / 5
    present = torch.ones(7, dtype=torch.bool)
    kept = [set(order[:4]) for order in orders(scores)]
    certain, possible = keep_highest(scores, present, present, 4)
    assert set(certain.nonzero().flatten().tolist()) == set.intersection(*kept)
    assert set(possible.nonzero().flatten().tolist()) == set.union(*kept)
    assert all(torch.equal(mask, present) for mask in keep_highest(scores, present, present, -1))


def test_keep_highest_of_possible_ones():
    """One that may not be there leaves room, which the next may take."""
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    certain, possible = keep_highest(
        scores, torch.tensor([True, False, True, True]), torch.ones(4, dtype=torch.bool), 2
    )
    assert certain.tolist() == [True, False, False, False] and possible.tolist() == [True, True, True, False]


@pytest.mark.parametrize('recipe', ['paper', 'release', 'limits', 'faster_rcnn'])
def test_detector_without_ties(make_detector, images, faster_rcnn, recipe):
    """Certain, possible and found are the same then."""
    options = dict(
        paper={},
        release=dict(roi_head__bbox_head__reg_class_agnostic=False),
        limits=dict(test_cfg__rpn=dict(nms_pre=40, max_per_img=15, min_bbox_size=3), test_cfg__rcnn__max_per_img=5),
    )
    detector = faster_rcnn if recipe == 'faster_rcnn' else make_detector(**options[recipe])
    pipeline = ImagePipeline(detector.cfg)
    for image in images:
        found = detect(detector, image, pipeline)
        outcomes = find_outcomes(detector, image, pipeline, 0.05)
        assert outcomes.certain.all() and len(found.boxes) == len(outcomes.boxes) > 3
        order = np.argsort(-outcomes.scores, kind='stable')
        np.testing.assert_allclose(outcomes.scores[order], found.scores, atol=1e-6)
        np.testing.assert_allclose(outcomes.boxes[order], found.boxes, atol=1e-3)
        assert outcomes.labels[order].tolist() == found.labels.tolist()


def test_equal_objectness(make_detector, images):
    """Which anchors are among the best is arbitrary then, so that no proposal and no detection is certain."""
    # No anchor suppresses another.
    detector = make_detector(
        test_cfg__rpn=dict(nms_pre=40, max_per_img=1000, nms=dict(type='nms', iou_threshold=1.0), min_bbox_size=0)
    )
    for parameter in detector.rpn_head.rpn_cls.parameters():
        torch.nn.init.zeros_(parameter)
    pipeline = ImagePipeline(detector.cfg)
    found = detect(detector, images[0], pipeline)
    outcomes = find_outcomes(detector, images[0], pipeline, 0.05)
    assert not outcomes.certain.any() and len(outcomes.boxes) > len(found.boxes) > 3
    # Those found are among the possible ones.
    distances = np.abs(outcomes.boxes[:, None] - found.boxes).max(-1)
    distances[outcomes.labels[:, None] != found.labels] = np.inf
    assert distances.min(0).max() < 1e-3


def test_many_candidates(make_detector, images, monkeypatch):
    """Those of low scores are left out where they cannot be proposals, and otherwise nothing is said."""
    detector = make_detector(test_cfg__rpn__max_per_img=8)
    pipeline = ImagePipeline(detector.cfg)
    expected = find_outcomes(detector, images[0], pipeline, 0.05)
    monkeypatch.setattr(outcomes_module, 'MAX_CANDIDATES', 100)
    for found, other in zip(find_outcomes(detector, images[0], pipeline, 0.05), expected):
        assert np.array_equal(found, other)
    monkeypatch.setattr(outcomes_module, 'MAX_CANDIDATES', 8)
    assert find_outcomes(detector, images[0], pipeline, 0.05) is None


@pytest.mark.parametrize(
    ('options', 'bias'),
    [
        ({}, 0),
        ({}, 0.5),
        (dict(test_cfg__rcnn__nms__iou_threshold=0.3), 0),
        (dict(test_cfg__rcnn__nms__iou_threshold=0.8), 0),
        (dict(test_cfg__rcnn__max_per_img=20), 0),
        (dict(test_cfg__rcnn__score_thr=0.2), 0),
        (dict(test_cfg__rpn__nms__iou_threshold=0.3), 0),
        (dict(test_cfg__rpn__max_per_img=10), 0),
    ],
)
def test_wrong_detectors(make_detector, images, options, bias):
    """All scores are equal, and still only the right detector agrees."""

    def make(**options) -> torch.nn.Module:
        options = {'test_cfg__rcnn__max_per_img': 1000, 'test_cfg__rpn__max_per_img': 60, **options}
        detector = make_detector(**options)
        for parameter in detector.roi_head.bbox_head.fc_cls.parameters():
            torch.nn.init.zeros_(parameter)
        return detector

    right, wrong = make(), make(**options)
    torch.nn.init.constant_(wrong.roi_head.bbox_head.fc_reg.bias, bias)
    pipeline = ImagePipeline(right.cfg)
    agreement = Agreement()
    for image in images:
        found = detect(wrong, image, pipeline)
        outcomes = functools.partial(find_outcomes, right, image, pipeline, 0.05)
        agreement.add(detect(right, image, pipeline), found, outcomes)
    assert agreement.detections > 100
    assert (agreement.unmatched == 0) is (options == {} and bias == 0)
