"""Exported detectors as functions to be timed."""

import tempfile
from pathlib import Path
from typing import Callable, Dict, Sequence

import numpy as np
import onnx
import torch
from mmdet.models.detectors import BaseDetector, SingleStageDetector
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmthunder.export import TwoStageGraph
from mmthunder.export.pad_depthwise import pad_depthwise
from mmthunder.export.to_onnx import OPSET, to_onnx
from mmthunder.runtime.sessions import open_session
from mmthunder.tools.analysis_tools.baseline_graphs import SingleStageGraph, TorchvisionGraph
from mmthunder.tools.runtimes import RUNTIMES


def to_graph(detector: nn.Module) -> nn.Module:
    """Return a module from images (N, H, W, 3), uint8 and BGR, to detections.

    Args:
        detector (nn.Module): A two-stage detector, or one of those in ``baselines.py``.

    Returns:
        nn.Module: The module, which can be exported.

    Raises:
        NotImplementedError: If a two-stage detector has parts that ONNX cannot express.
    """
    if not isinstance(detector, BaseDetector):
        return TorchvisionGraph(detector)
    return SingleStageGraph(detector) if isinstance(detector, SingleStageDetector) else TwoStageGraph(detector)


def _torchvision_to_onnx(graph: TorchvisionGraph, images: Tensor, path: Path) -> onnx.ModelProto:
    """Export a detector of torchvision, with the TorchScript exporter, which its post-processing needs."""
    # The exporter of torch.export does not take its boolean indexing (torchvision issue 9306).
    torch.onnx.export(graph, (images,), path, dynamo=False, opset_version=OPSET, input_names=['images'])
    model = onnx.load(path)
    pad_depthwise(model)
    return model


def exported_calls(
    graph: nn.Module, images: np.ndarray, backends: Sequence[str], threads: int
) -> Dict[str, Callable[[], object]]:
    """Export a detector and make one call for each backend.

    Args:
        graph (nn.Module): The detector as a module from images to detections.
        images (np.ndarray): Images with shape (N, H, W, 3), uint8.
        backends (Sequence[str]): Some of :data:`RUNTIMES`.
        threads (int): Threads of a call.

    Returns:
        dict[str, Callable]: The calls by backend.
    """
    inputs = torch.from_numpy(images)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / 'model.onnx'
        if isinstance(graph, TorchvisionGraph):
            model = _torchvision_to_onnx(graph, inputs, path)
        else:
            model = to_onnx(graph, inputs)
        onnx.save(model, path)
        sessions = {backend: open_session(path, threads=threads, **RUNTIMES[backend]) for backend in backends}
    return {backend: lambda session=session: session.run(images) for backend, session in sessions.items()}


def count_macs(graph: nn.Module, images: np.ndarray) -> float:
    """Count the multiply-adds of convolutions and matrix products of one call."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        graph(torch.from_numpy(images))
    return counter.get_total_flops() / 2
