"""A small detector whose weights make it find things."""

from typing import Callable

import numpy as np
import pytest
import torch
from mmdet.models.detectors import TwoStageDetector
from mmengine.config import Config
from torch import nn

from mmthunder.export import load_detector


@pytest.fixture
def make_detector(tiny_cfg: Config) -> Callable[..., TwoStageDetector]:
    """A function that builds the narrow ThunderNet of 64 px with overrides of its config."""

    def make(**options) -> TwoStageDetector:
        cfg = Config(tiny_cfg.to_dict())
        cfg.model.test_cfg.rcnn.nms = dict(type='nms', iou_threshold=0.5)
        cfg.model.test_cfg.rcnn.score_thr = 0.05
        cfg.merge_from_dict({f'model.{key.replace("__", ".")}': value for key, value in options.items()})
        detector = load_detector(cfg)
        head = detector.roi_head.bbox_head
        generator = torch.Generator().manual_seed(1)
        for module, scale in ((head.fc_cls, 1.0), (head.fc_reg, 0.02), (detector.rpn_head.rpn_cls, 0.3),
                              (detector.rpn_head.rpn_reg, 0.1)):
            nn.init.normal_(module.weight, std=scale, generator=generator)
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.2, 0.2, generator=generator)
                nn.init.uniform_(module.running_var, 0.5, 1.5, generator=generator)
        return detector

    return make


@pytest.fixture
def images() -> list:
    """Three images of two sizes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((80, 96), (80, 96), (70, 50))]
