"""A training step: mmengine's ``train_step`` with preprocessing, all losses, backward and optimizer.

Weights are random, images are noise and boxes are drawn at random.
"""

from typing import Callable

import pytest
from mmdet.models.detectors import TwoStageDetector
from mmdet.testing import demo_mm_inputs
from mmengine.optim import build_optim_wrapper

from mmthunder.apis import load_detector


@pytest.fixture
def detector(config: str) -> TwoStageDetector:
    """The detector in training mode, which takes images in their own size."""
    detector = load_detector(config).train()
    detector.data_preprocessor.batch_augments = None
    return detector


def random_batch(detector: TwoStageDetector, batch: int, size: int, objects: int) -> dict:
    """Draw square images with ``size`` pixels a side and ``objects`` boxes each."""
    classes = detector.roi_head.bbox_head.num_classes
    return demo_mm_inputs(batch, [[3, size, size]] * batch, num_items=[objects] * batch, num_classes=classes)


def train_call(detector: TwoStageDetector, data: dict) -> Callable[[], object]:
    """Return a call of ``train_step`` with the optimizer of the config."""
    optim_wrapper = build_optim_wrapper(detector, detector.cfg.optim_wrapper)
    return lambda: detector.train_step(data, optim_wrapper)


@pytest.mark.parametrize(
    ('batch', 'size', 'objects'),
    [
        *((batch, 320, 10) for batch in (1, 2, 4, 8, 16)),
        *((4, size, 10) for size in (160, 224, 480, 640)),
        *((4, 320, objects) for objects in (1, 50, 100, 500)),
    ],
)
def test_growth(detector, measure, batch, size, objects):
    """Time and memory against the images of a batch, their size and their objects."""
    measure(train_call(detector, random_batch(detector, batch, size, objects)))


@pytest.mark.parametrize('part', ['train_step', 'feature network'])
def test_parts(detector, measure, part):
    """The step beside forward and backward of backbone, neck, RPN convolutions and spatial attention."""
    data = random_batch(detector, 8, 320, 7)
    if part == 'train_step':
        return measure(train_call(detector, data))
    inputs = detector.data_preprocessor(data, True)['inputs']

    def call() -> None:
        feats = detector.extract_feat(inputs)
        cls_scores, bbox_preds = detector.rpn_head(feats)
        sum(out.sum() for out in (feats[0], *cls_scores, *bbox_preds)).backward()
        detector.zero_grad()

    measure(call)
