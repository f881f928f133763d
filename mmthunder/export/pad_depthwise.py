"""Padding of the channels of depthwise convolutions, which makes them faster in ONNX Runtime."""

from typing import Dict, List, Optional

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Functions of one tensor that treat every channel alike, which may stand between two convolutions.
ELEMENTWISE = ('Clip', 'HardSigmoid', 'HardSwish', 'Identity', 'LeakyRelu', 'Relu', 'Sigmoid')


class _Graph:
    """Nodes by their inputs and outputs, and constants by name."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        # Equal constants may be stored once and handed on.
        for node in graph.node:
            if node.op_type == 'Identity' and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
        self.producer = {name: node for node in graph.node for name in node.output}
        self.consumers: Dict[str, List[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        self.outputs = {value.name for value in graph.output}

    def is_private(self, name: str) -> bool:
        """Return whether a tensor has one consumer."""
        return len(self.consumers.get(name, [])) == 1 and name not in self.outputs

    def conv_before(self, name: str) -> Optional[onnx.NodeProto]:
        """Find the ungrouped convolution that produces a tensor, if no other node reads the tensors in between."""
        while self.is_private(name) and name in self.producer:
            node = self.producer[name]
            if node.op_type == 'Conv':
                return node if _attribute(node, 'group', 1) == 1 else None
            if node.op_type not in ELEMENTWISE:
                return None
            name = node.input[0]
        return None

    def conv_after(self, name: str) -> Optional[onnx.NodeProto]:
        """Find the ungrouped convolution that consumes a tensor, if it is the only consumer."""
        while self.is_private(name):
            node = self.consumers[name][0]
            if node.op_type == 'Conv':
                return node if _attribute(node, 'group', 1) == 1 and node.input[0] == name else None
            if node.op_type not in ELEMENTWISE or node.input[0] != name:
                return None
            name = node.output[0]
        return None

    def pad_constant(self, node: onnx.NodeProto, index: int, axis: int, count: int) -> None:
        """Append zeros to a constant input of a node."""
        array = numpy_helper.to_array(self.constants[node.input[index]])
        widths = [(0, count if i == axis else 0) for i in range(array.ndim)]
        name = f'{node.input[index]}_padded_{node.output[0]}'
        self.constants[name] = numpy_helper.from_array(np.pad(array, widths), name)
        self.graph.initializer.append(self.constants[name])
        node.input[index] = name

    def pad_outputs(self, node: onnx.NodeProto, count: int) -> None:
        """Give a convolution more output channels, which are zero."""
        for index in range(1, len(node.input)):
            self.pad_constant(node, index, 0, count)

    def add_constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant."""
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def pad_depthwise(model: onnx.ModelProto, multiple: int = 16) -> int:
    """Pad the channels of depthwise convolutions to a multiple, without changing the outputs.

    ONNX Runtime has fast depthwise convolutions for blocks of 8 or 16 channels, as the processor's
    vectors are long, and computes others as one small matrix product per channel. SNet's branches have
    30, 60, 66 channels and so on. The new channels have weights of zero; convolutions before and after
    take them over where that is possible, and elsewhere they are added and removed again.

    Args:
        model (onnx.ModelProto): The model; it is changed.
        multiple (int): What the numbers of channels are rounded up to. Defaults to 16.

    Returns:
        int: Convolutions that were padded.
    """
    graph = _Graph(model.graph)
    nodes, padded = [], 0
    slices: Dict[str, List[onnx.NodeProto]] = {}
    for node in model.graph.node:
        weight = graph.constants.get(node.input[1]) if node.op_type == 'Conv' else None
        channels = weight.dims[0] if weight is not None else 0
        count = -channels % multiple
        if count and weight.dims[1] == 1 and _attribute(node, 'group', 1) == channels:
            padded += 1
            name, out = node.input[0], node.output[0]
            before, after = graph.conv_before(name), graph.conv_after(out)
            if before is not None:
                graph.pad_outputs(before, count)
            else:
                pads = graph.add_constant(f'{out}_pads', np.array([0] * 5 + [count, 0, 0], np.int64))
                nodes.append(helper.make_node('Pad', [name, pads], [f'{out}_input_padded'], f'{node.name}_pad'))
                node.input[0] = f'{out}_input_padded'
            graph.pad_outputs(node, count)
            for attribute in node.attribute:
                if attribute.name == 'group':
                    attribute.i = channels + count
            if after is not None:
                graph.pad_constant(after, 1, 1, count)
            else:
                limits = [
                    graph.add_constant(f'{out}_{key}', np.array([value], np.int64))
                    for key, value in (('start', 0), ('end', channels), ('axis', 1))
                ]
                node.output[0] = f'{out}_padded'
                slices[out] = [helper.make_node('Slice', [f'{out}_padded', *limits], [out], f'{node.name}_slice')]
            nodes += [node, *slices.get(out, [])]
        else:
            nodes.append(node)
    if padded:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
        # Shapes that the exporter noted hold no longer.
        del model.graph.value_info[:]
    return padded
