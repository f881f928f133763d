"""Turns detectors into ONNX files that :mod:`mmthunder.runtime` runs."""

from .onnx_file import DisagreementError, InputSpec, export_onnx
from .two_stage_graph import TwoStageGraph

__all__ = ['DisagreementError', 'InputSpec', 'TwoStageGraph', 'export_onnx']
