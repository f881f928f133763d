"""Detectors of mmdet for programs: loading them, detecting in images and comparing what is found."""

from .agreement import Agreement
from .load import detect, load_detector, set_score_thr, use_fixed_size, use_greedy_nms
from .sample_images import load_sample_images

__all__ = [
    'Agreement',
    'load_sample_images',
    'detect',
    'load_detector',
    'set_score_thr',
    'use_fixed_size',
    'use_greedy_nms',
]
