"""Detectors of mmdet for programs: loading them, detecting in images and comparing what is found."""

from .agreement import Agreement
from .check_images import check_images
from .load import detect, load_detector, set_score_thr, use_fixed_size, use_greedy_nms

__all__ = ['Agreement', 'check_images', 'detect', 'load_detector', 'set_score_thr', 'use_fixed_size', 'use_greedy_nms']
