"""Detectors of torchvision and mmdet to compare latency with."""

from typing import Optional

import torchvision
from mmdet.models.dense_heads import RTMDetHead, YOLOXHead
from mmdet.models.detectors import SingleStageDetector
from mmdet.registry import MODELS
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import nn

from mmthunder.comparison import PEERS

TORCHVISION = ('ssdlite320_mobilenet_v3_large', 'fasterrcnn_mobilenet_v3_large_320_fpn')
MMDET = ('yolox_nano', 'yolox_tiny', 'rtmdet_tiny')


def build_torchvision(name: str, size: int, score_thr: Optional[float], max_per_img: Optional[int] = None) -> nn.Module:
    """Build a detector of torchvision with random weights.

    Args:
        name (str): Its name in torchvision.
        size (int): Side of the images, in pixels.
        score_thr (float, optional): Lowest score of a detection; None leaves the detector its own.
        max_per_img (int, optional): Most detections of an image. Defaults to None, the detector's own.

    Returns:
        nn.Module: The detector.
    """
    kwargs = dict(weights=None, weights_backbone=None)
    two_stages = name.startswith('fasterrcnn')
    if two_stages:
        kwargs.update(min_size=size, max_size=size)
    prefix = 'box_' if two_stages else ''
    if score_thr is not None:
        kwargs[f'{prefix}score_thresh'] = score_thr
    if max_per_img is not None:
        kwargs[f'{prefix}detections_per_img'] = max_per_img
    return torchvision.models.get_model(name, **kwargs).eval()


def build_mmdet(name: str, cfg_options: Optional[dict] = None) -> SingleStageDetector:
    """Build a detector of mmdet's model zoo with random weights.

    Args:
        name (str): One of :data:`MMDET`.
        cfg_options (dict, optional): Overrides of the config. Defaults to None.

    Returns:
        SingleStageDetector: The detector.
    """
    cfg = PEERS[name].load()
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    cfg.merge_from_dict(cfg_options or {})
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    assert isinstance(model.bbox_head, (YOLOXHead, RTMDetHead))
    model.init_weights()
    return model.eval()
