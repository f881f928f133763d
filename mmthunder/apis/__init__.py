"""Detectors of mmdet for programs: loading them, detecting in images and comparing what is found."""

from .agreement import Agreement
from .image_pipeline import ImagePipeline, find_datasets
from .load import detect, load_detector, nms_type, set_score_thr, use_greedy_nms
from .outcomes import Outcomes, find_outcomes
from .sample_images import load_sample_images

__all__ = [
    'Agreement',
    'ImagePipeline',
    'Outcomes',
    'detect',
    'find_datasets',
    'find_outcomes',
    'load_detector',
    'load_sample_images',
    'nms_type',
    'set_score_thr',
    'use_greedy_nms',
]
