"""Exports detectors to ONNX files that :mod:`mmthunder.runtime` runs."""

from .input_spec import InputSpec
from .onnx_file import DisagreementError, export_onnx
from .two_stage_graph import TwoStageGraph

__all__ = ['DisagreementError', 'InputSpec', 'TwoStageGraph', 'export_onnx']
