"""A small Faster R-CNN whose weights make it find things."""

import pytest
import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from mmengine.config import Config


@pytest.fixture
def faster_rcnn(repo) -> TwoStageDetector:
    """A narrow Faster R-CNN in the layout of DetNet's, for 96x128 px, that finds things in noise."""
    cfg = Config.fromfile(repo / 'configs/detnet/faster-rcnn_detnet59_fpn_1xb4-8e_bccd.py')
    cfg.merge_from_dict(
        {
            'model.backbone.base_channels': 4,
            'model.neck.in_channels': [16, 32, 64, 64, 64],
            'model.neck.out_channels': 16,
            'model.rpn_head.in_channels': 16,
            'model.rpn_head.feat_channels': 16,
            'model.roi_head.bbox_roi_extractor.out_channels': 16,
            'model.roi_head.bbox_head.in_channels': 16,
            'model.roi_head.bbox_head.fc_out_channels': 32,
            'model.test_cfg.rpn': dict(nms_pre=200, max_per_img=60),
        }
    )
    model = MODELS.build(cfg.model).eval()
    generator = torch.Generator().manual_seed(0)
    head = model.roi_head.bbox_head
    for module, scale in (
        (head.fc_cls, 1.0),
        (head.fc_reg, 0.05),
        (model.rpn_head.rpn_cls, 1.0),
        (model.rpn_head.rpn_reg, 0.3),
    ):
        torch.nn.init.normal_(module.weight, std=scale, generator=generator)
    (resize,) = (step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'Resize')
    resize.update(scale=(128, 96), keep_ratio=False)
    model.cfg, model.dataset_meta = cfg, cfg.metainfo
    return model
