"""A small detector whose weights make it find things."""

from typing import Callable

import numpy as np
import pytest
import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
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


@pytest.fixture
def faster_rcnn(repo) -> TwoStageDetector:
    """A narrow Faster R-CNN in the layout of DetNet's, for 96x128 px, that finds things in noise."""
    cfg = Config.fromfile(repo / 'configs/detnet/detnet59_fpn_bccd.py')
    cfg.merge_from_dict({
        'model.backbone.base_channels': 4,
        'model.neck.in_channels': [16, 32, 64, 64, 64],
        'model.neck.out_channels': 16,
        'model.rpn_head.in_channels': 16,
        'model.rpn_head.feat_channels': 16,
        'model.roi_head.bbox_roi_extractor.out_channels': 16,
        'model.roi_head.bbox_head.in_channels': 16,
        'model.roi_head.bbox_head.fc_out_channels': 32,
        'model.test_cfg.rpn': dict(nms_pre=200, max_per_img=60),
    })
    model = MODELS.build(cfg.model).eval()
    generator = torch.Generator().manual_seed(0)
    head = model.roi_head.bbox_head
    for module, scale in ((head.fc_cls, 1.), (head.fc_reg, 0.05), (model.rpn_head.rpn_cls, 1.),
                          (model.rpn_head.rpn_reg, 0.3)):
        torch.nn.init.normal_(module.weight, std=scale, generator=generator)
    resize, = (step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'Resize')
    resize.update(scale=(128, 96), keep_ratio=False)
    model.cfg, model.dataset_meta = cfg, cfg.metainfo
    return model
