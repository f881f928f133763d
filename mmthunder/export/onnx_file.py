"""Export of a detector to one ONNX file."""

import functools
import json
from pathlib import Path
from typing import Optional, Sequence, Union

import numpy as np
import onnx
import torch
from mmdet.models.detectors import TwoStageDetector

from mmthunder.apis import Agreement, detect, find_outcomes, use_greedy_nms
from mmthunder.runtime import Detector
from mmthunder.utils.atomic_write import atomic_files

from .input_spec import InputSpec
from .metadata import make_metadata
from .to_onnx import to_onnx
from .two_stage_graph import TwoStageGraph


class DisagreementError(RuntimeError):
    """The exported graph and the detector have different detections."""


def build_model(detector: TwoStageDetector, spec: InputSpec) -> onnx.ModelProto:
    """Translate a detector into ONNX.

    Args:
        detector (TwoStageDetector): What :func:`load_detector` returns; it is not changed.
        spec (InputSpec): Input of the graph.

    Returns:
        onnx.ModelProto: The model with its metadata.
    """
    graph = TwoStageGraph(detector)
    width, height = spec.size
    free, fixed = torch.export.Dim.DYNAMIC, torch.export.Dim.STATIC
    sides = free if spec.dynamic else fixed
    # An example of one image would make the graph one for single images, and equal sides one for squares.
    example = np.zeros((spec.batch or 2, height, width + 32 * spec.dynamic, spec.channels), spec.dtype)
    model = to_onnx(
        graph, torch.from_numpy(example), {0: free if spec.batch is None else fixed, 1: sides, 2: sides, 3: fixed}
    )
    onnx.helper.set_model_props(
        model,
        {key: value if key == 'format' else json.dumps(value) for key, value in make_metadata(detector, spec).items()},
    )
    return model


def export_onnx(
    detector: TwoStageDetector,
    output: Union[str, Path],
    spec: InputSpec,
    images: Sequence[np.ndarray],
    threads: Optional[int] = None,
) -> Agreement:
    """Write a detector as an ONNX file, if its detections are those of the detector.

    Args:
        detector (TwoStageDetector): What :func:`load_detector` returns.
        output (str or Path): The file to write.
        spec (InputSpec): Input of the graph.
        images (Sequence[np.ndarray]): Images to compare on, as ``spec.pipeline`` reads them.
        threads (int, optional): Threads of ONNX Runtime. Defaults to None, its own choice.

    Returns:
        Agreement: How the file's detections compare with those of the detector with greedy NMS.

    Raises:
        DisagreementError: If a detection has no partner, not because of equal scores; nothing is written then.
        NotImplementedError: If the detector cannot be exported.
    """
    output = Path(output)
    agreement = Agreement()
    # Renamed when it is right, so that there is never a wrong or incomplete file under its name.
    with atomic_files(output.parent, [output.name]) as directory:
        onnx.save(build_model(detector, spec), directory / output.name)
        runtime = Detector(directory / output.name, 'onnxruntime', threads)
        reference = use_greedy_nms(detector)
        for image, found in zip(images, runtime.detect(images)):
            outcomes = functools.partial(find_outcomes, reference, image, spec.pipeline, agreement.min_score)
            agreement.add(detect(reference, image, spec.pipeline), found, outcomes)
        if agreement.unmatched:
            raise DisagreementError(
                f'export: the graph and the detector disagree, so {output} is not written: {agreement}'
            )
    return agreement
