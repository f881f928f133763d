"""Loading and running detectors in PyTorch."""

import contextlib
import copy
import logging
import warnings
from typing import Iterator, Optional

import numpy as np
import torch
from mmdet.apis import init_detector
from mmdet.models.detectors import BaseDetector, TwoStageDetector
from mmdet.registry import DATASETS
from mmengine.config import Config, ConfigDict
from mmengine.runner import load_checkpoint

from mmthunder.engine import safe_loading
from mmthunder.engine.hooks.strict_checkpoint_hook import describe_misfit
from mmthunder.runtime import Detections

from .image_pipeline import ImagePipeline, find_datasets


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Disable logging up to level INFO within the context."""
    level = logging.root.manager.disable
    logging.disable(max(level, logging.INFO))
    try:
        yield
    finally:
        logging.disable(level)


def _read_dataset_meta(cfg: Config, checkpoint_meta: dict) -> dict:
    """Return the ``dataset_meta`` of the checkpoint, otherwise the metainfo of the config's dataset."""
    if 'dataset_meta' in checkpoint_meta:
        return {key.lower(): value for key, value in checkpoint_meta['dataset_meta'].items()}
    if 'CLASSES' in checkpoint_meta:  # mmdet 2.x
        return dict(classes=checkpoint_meta['CLASSES'])
    for dataset in find_datasets(cfg, 'test', 'val', 'train'):
        return dict(DATASETS.build(dict(dataset, lazy_init=True)).metainfo)
    raise ValueError(
        f'{cfg.filename or "config"}: has no dataset and the checkpoint no dataset_meta, so the classes are unknown; '
        'give a checkpoint with dataset_meta, or a config with test_dataloader'
    )


def load_detector(config: str, checkpoint: Optional[str] = None, cfg_options: Optional[dict] = None) -> BaseDetector:
    """Build a detector on the CPU in eval mode.

    Args:
        config (str or Config): Path of the config.
        checkpoint (str, optional): Path of its weights; with None they are random, the same ones in each call, which
            is enough to measure speed and memory; no pretrained backbone is loaded. Defaults to None.
        cfg_options (dict, optional): Overrides of the config. Defaults to None.

    Returns:
        BaseDetector: The detector, with ``cfg`` and ``dataset_meta`` as attributes; the latter is the
        checkpoint's where it has one, otherwise that of the config's test, validation or training set.

    Raises:
        ValueError: If the checkpoint is of another architecture, or nothing says what the classes are.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options = {'model.backbone.init_cfg': None, **(cfg_options or {})}
        # It warns, whatever the filters, that it takes COCO's classes, which is put right below. A palette of the test
        # set, which a config need not have, is not looked for where one is given.
        with warnings.catch_warnings(record=True):
            detector = init_detector(config, palette='random', device='cpu', cfg_options=options)
        meta = {}
        if checkpoint is None:
            with _quiet():  # it would log every parameter
                detector.init_weights()
        else:
            with safe_loading():
                loaded = load_checkpoint(detector, str(checkpoint), map_location='cpu')
            misfit = describe_misfit(detector, loaded)
            if misfit:
                raise ValueError(f'{checkpoint}: {misfit}')
            meta = loaded.get('meta', {})
    detector.dataset_meta = _read_dataset_meta(detector.cfg, meta)
    return detector.eval()


def limit_detections(detector: BaseDetector, score_thr: float, max_per_img: Optional[int] = None) -> None:
    """Set the score threshold of a detector's result and how many detections it has.

    Soft-NMS lowers scores, and has a threshold of its own for the result; that is set as well.

    Args:
        detector (BaseDetector): A detector of one or two stages, as :func:`load_detector` returns it; it is changed.
        score_thr (float): Lowest score of a detection.
        max_per_img (int, optional): Most detections of an image. Defaults to None, which changes nothing.
    """
    cfg = (detector.roi_head if isinstance(detector, TwoStageDetector) else detector.bbox_head).test_cfg
    cfg.score_thr = score_thr
    if 'min_score' in cfg.nms:
        cfg.nms.min_score = score_thr
    if max_per_img is not None:
        cfg.max_per_img = max_per_img


def nms_type(cfg: ConfigDict) -> str:
    """Return the type of NMS of ``test_cfg.rpn`` or ``test_cfg.rcnn``; a config may have its name or the function."""
    kind = (cfg.get('nms') or {}).get('type', 'nms')
    return getattr(kind, '__name__', kind)


def use_greedy_nms(detector: TwoStageDetector) -> TwoStageDetector:
    """Replace the detector's final NMS by the greedy NMS of the same IoU threshold.

    Args:
        detector (TwoStageDetector): What :func:`load_detector` returns; it is not changed.

    Returns:
        TwoStageDetector: A copy.

    Raises:
        ValueError: If the detector has no final NMS with an IoU threshold.
    """
    if not isinstance(detector, TwoStageDetector) or 'iou_threshold' not in (detector.roi_head.test_cfg.nms or {}):
        raise ValueError(
            f'{type(detector).__name__}: has no test_cfg.rcnn.nms with an iou_threshold; give a two-stage detector '
            "whose test_cfg has nms=dict(type='nms', iou_threshold=...)"
        )
    detector = copy.deepcopy(detector)
    cfg = detector.roi_head.test_cfg
    cfg.nms = ConfigDict(type='nms', iou_threshold=cfg.nms.iou_threshold)
    return detector


def detect(detector: BaseDetector, image: np.ndarray, pipeline: Optional[ImagePipeline] = None) -> Detections:
    """Run a detector of mmdet with the test pipeline of its config.

    Args:
        detector (BaseDetector): What :func:`load_detector` returns.
        image (np.ndarray): The image as :meth:`ImagePipeline.read` returns it, by default BGR, uint8, (H, W, 3).
        pipeline (ImagePipeline, optional): Another test pipeline. Defaults to None, the config's.

    Returns:
        Detections: The detections, in pixels of the image.
    """
    pipeline = pipeline or ImagePipeline(detector.cfg)
    with torch.no_grad():
        instances = detector.test_step(pipeline(image))[0].pred_instances
    return Detections(*(instances[key].cpu().numpy() for key in ('bboxes', 'scores', 'labels')))
