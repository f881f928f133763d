"""Turns detectors into ONNX files that :mod:`mmthunder.runtime` runs."""

from .agreement import Agreement
from .check_images import check_images
from .load import detect, load_detector, set_score_thr, use_greedy_nms
from .onnx_file import DisagreementError, InputSpec, export_onnx
from .two_stage_graph import TwoStageGraph

__all__ = [
    'Agreement', 'DisagreementError', 'InputSpec', 'TwoStageGraph', 'check_images', 'detect', 'export_onnx',
    'load_detector', 'set_score_thr', 'use_greedy_nms'
]
