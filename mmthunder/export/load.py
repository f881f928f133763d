"""Loads detectors of mmdet to export them or to compare with them."""

import copy
import logging
import warnings
from typing import Optional, Tuple

import numpy as np
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.models.detectors import BaseDetector, TwoStageDetector
from mmdet.registry import DATASETS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import ConfigDict

from mmthunder.runtime import Detections


def load_detector(config: str, checkpoint: Optional[str] = None, cfg_options: Optional[dict] = None) -> BaseDetector:
    """Build a detector on the CPU in eval mode.

    Args:
        config (str): Path of the config.
        checkpoint (str, optional): Path of its weights; None draws them, always the same ones, which
            is enough to measure speed. Defaults to None.
        cfg_options (dict, optional): Overrides of the config. Defaults to None.

    Returns:
        BaseDetector: The detector, with ``cfg`` and ``dataset_meta`` as attributes.
    """
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # It warns of what is put right below.
        warnings.filterwarnings('ignore', message='.*COCO classes by default')
        detector = init_detector(config, checkpoint, device='cpu', cfg_options=cfg_options or {})
        if checkpoint is None:
            # It would log every parameter.
            logging.disable(logging.INFO)
            detector.init_weights()
            logging.disable(logging.NOTSET)
            dataset = DATASETS.build(dict(detector.cfg.test_dataloader.dataset, lazy_init=True))
            detector.dataset_meta = dataset.metainfo
    return detector.eval()


def use_greedy_nms(detector: TwoStageDetector) -> TwoStageDetector:
    """Replace the detector's final NMS by the greedy NMS of the same IoU threshold.

    Args:
        detector (TwoStageDetector): What :func:`load_detector` returns; it is not changed.

    Returns:
        TwoStageDetector: A copy.
    """
    detector = copy.deepcopy(detector)
    cfg = detector.roi_head.test_cfg
    cfg.nms = ConfigDict(type='nms', iou_threshold=cfg.nms.iou_threshold)
    return detector


def use_fixed_size(detector: BaseDetector, scale: Tuple[int, int]) -> BaseDetector:
    """Make the test pipeline of a detector's config stretch images to one size.

    Args:
        detector (BaseDetector): What :func:`load_detector` returns; it is not changed.
        scale (tuple[int, int]): Width and height in pixels.

    Returns:
        BaseDetector: A copy.
    """
    detector = copy.deepcopy(detector)
    for step in get_test_pipeline_cfg(detector.cfg):
        if step['type'] == 'Resize':
            step.update(scale=scale, keep_ratio=False)
    return detector


def detect(detector: BaseDetector, image: np.ndarray) -> Detections:
    """Run a detector of mmdet with the test pipeline of its config.

    Args:
        detector (BaseDetector): What :func:`load_detector` returns.
        image (np.ndarray): BGR, uint8, (H, W, 3).

    Returns:
        Detections: What it finds, in pixels of the image.
    """
    instances = inference_detector(detector, image).pred_instances
    return Detections(*(instances[key].numpy() for key in ('bboxes', 'scores', 'labels')))
