"""Loads detectors of mmdet to export, to time or to compare with them."""

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
from mmengine.runner import load_checkpoint

from mmthunder.engine import safe_loading
from mmthunder.engine.hooks.strict_checkpoint_hook import describe_misfit
from mmthunder.runtime import Detections


def load_detector(config: str, checkpoint: Optional[str] = None, cfg_options: Optional[dict] = None) -> BaseDetector:
    """Build a detector on the CPU in eval mode.

    Args:
        config (str): Path of the config.
        checkpoint (str, optional): Path of its weights; None draws them, always the same ones, which
            is enough to measure speed and memory; no pretrained backbone is loaded. Defaults to None.
        cfg_options (dict, optional): Overrides of the config. Defaults to None.

    Returns:
        BaseDetector: The detector, with ``cfg`` and ``dataset_meta`` as attributes; the latter is the
        checkpoint's where it has one, otherwise that of the config's test set.

    Raises:
        ValueError: If the checkpoint is of another architecture.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options = {'model.backbone.init_cfg': None, **(cfg_options or {})}
        # It warns, whatever the filters, that it takes COCO's classes, which is put right below.
        with warnings.catch_warnings(record=True):
            detector = init_detector(config, device='cpu', cfg_options=options)
        meta = {}
        if checkpoint is None:
            # It would log every parameter.
            level = logging.root.manager.disable
            logging.disable(max(level, logging.INFO))
            detector.init_weights()
            logging.disable(level)
        else:
            with safe_loading():
                loaded = load_checkpoint(detector, str(checkpoint), map_location='cpu')
            misfit = describe_misfit(detector, loaded)
            if misfit:
                raise ValueError(f'{checkpoint}: {misfit}')
            meta = loaded.get('meta', {})
    dataset = DATASETS.build(dict(detector.cfg.test_dataloader.dataset, lazy_init=True))
    detector.dataset_meta = meta.get('dataset_meta', dataset.metainfo)
    return detector.eval()


def set_score_thr(detector: TwoStageDetector, score_thr: float) -> None:
    """Give a detector another score threshold.

    Soft-NMS lowers scores, and has a threshold of its own for what it leaves; that is set as well.

    Args:
        detector (TwoStageDetector): What :func:`load_detector` returns; it is changed.
        score_thr (float): Lowest score of a detection.
    """
    cfg = detector.roi_head.test_cfg
    cfg.score_thr = score_thr
    if 'min_score' in cfg.nms:
        cfg.nms.min_score = score_thr


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
