"""INT8 versions of exported detectors."""

from pathlib import Path
from typing import List, Sequence, Union

import numpy as np
import onnx

from mmthunder.runtime import Detector
from mmthunder.runtime.sessions import openvino_core
from mmthunder.utils.atomic_write import atomic_files

# Layers whose results are logits and box deltas, which need more than 256 steps.
OUTPUT_LAYERS = ('rpn_cls', 'rpn_reg', 'fc_cls', 'fc_reg')
# Arithmetic of boxes and of the weights of RoI features, which NNCF would take for layers.
FLOAT_OPERATORS = ('Add', 'Div', 'MatMul', 'Mul', 'ReduceSum', 'Sub')


def _batches(model: Union[str, Path], images: Sequence[np.ndarray]) -> List[np.ndarray]:
    """Make the graph's input of each image."""
    detector = Detector(model)
    return [detector.make_batch([image]) for image in images]


def _output_nodes(model: onnx.ModelProto) -> list:
    """Return the names of the nodes of the output layers."""
    return [
        node.name
        for node in model.graph.node
        if any(f'.{layer}.' in name for layer in OUTPUT_LAYERS for name in node.input)
    ]


def quantize_onnxruntime(model: Union[str, Path], output: Union[str, Path], images: Sequence[np.ndarray]) -> None:
    """Write an ONNX file whose convolutions and fully connected layers compute in INT8.

    Weights have a scale per channel, activations one per tensor, from the range that they have on the images; they are
    in QuantizeLinear and DequantizeLinear nodes (QDQ).

    Args:
        model (str or Path): ONNX file of the exporter.
        output (str or Path): File to write.
        images (Sequence[np.ndarray]): Images to calibrate on, as :meth:`Detector.read` gives them.

    Raises:
        ModelFileError: If the file is not an exported detector.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    batches = iter(_batches(model, images))

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict:
            batch = next(batches, None)
            return None if batch is None else dict(images=batch)

    output = Path(output)
    with atomic_files(output.parent, [output.name]) as directory:
        quantize_static(
            model,
            directory / output.name,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=['Conv', 'Gemm'],
            nodes_to_exclude=_output_nodes(onnx.load(model)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def quantize_openvino(model: Union[str, Path], output: Union[str, Path], images: Sequence[np.ndarray]) -> None:
    """Write a model of OpenVINO (.xml and .bin) whose layers compute in INT8, by NNCF.

    Args:
        model (str or Path): ONNX file of the exporter.
        output (str or Path): The .xml file to write.
        images (Sequence[np.ndarray]): Images to calibrate on, as :meth:`Detector.read` gives them.

    Raises:
        ModelFileError: If the file is not an exported detector.
        ValueError: If the graph takes images of every size.
    """
    import nncf
    import openvino

    batches = _batches(model, images)
    graph = openvino_core().read_model(model)
    if graph.inputs[0].partial_shape.is_dynamic:
        # OpenVINO 2026.4 infers wrong shapes for the parts of a split INT8 tensor then and refuses the file.
        raise ValueError(
            f'{model}: takes images of every size; for INT8 in OpenVINO export it with --shape HEIGHT WIDTH'
        )
    proto = onnx.load(model)
    arithmetic = [node.name for node in proto.graph.node if node.op_type in FLOAT_OPERATORS]
    quantized = nncf.quantize(
        graph,
        nncf.Dataset(batches),
        subset_size=len(images),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=_output_nodes(proto) + arithmetic, validate=False),
    )
    output = Path(output)
    with atomic_files(output.parent, [output.with_suffix('.bin').name, output.name]) as directory:
        openvino.save_model(quantized, directory / output.name, compress_to_fp16=False)
