"""Translation of a detector module to an ONNX model."""

from typing import Optional

import onnx
import torch
from torch import Tensor, nn

from .nms import ONNX_TRANSLATION
from .pad_depthwise import pad_depthwise

OPSET = 18


def to_onnx(module: nn.Module, images: Tensor, dynamic_shapes: Optional[dict] = None) -> onnx.ModelProto:
    """Translate a module into a graph of standard operators.

    Args:
        module (nn.Module): In eval mode; takes images and returns boxes, scores and labels.
        images (Tensor): An example of the input. Sizes of 1 are fixed, whatever ``dynamic_shapes`` has.
        dynamic_shapes (dict, optional): Which sizes of the input vary, as
            :func:`torch.export.export` takes it. Defaults to None, none.

    Returns:
        onnx.ModelProto: The model, checked.
    """
    with torch.no_grad():
        program = torch.export.export(module, (images,), dynamic_shapes=(dynamic_shapes,))
        program = torch.onnx.export(
            program,
            input_names=['images'],
            output_names=['boxes', 'scores', 'labels'],
            opset_version=OPSET,
            dynamo=True,
            custom_translation_table=ONNX_TRANSLATION,
            verbose=False,
        )
    model = program.model_proto
    for node in model.graph.node:
        # The exporter notes the lines of code that a node stems from, with their paths on this machine.
        node.ClearField('metadata_props')
    pad_depthwise(model)
    onnx.checker.check_model(model, full_check=True)
    return model
