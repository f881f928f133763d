import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mmthunder.export.pad_depthwise import pad_depthwise


def make_model(before: bool, after: bool, channels: int = 30) -> onnx.ModelProto:
    """A depthwise convolution, with or without pointwise ones around it."""
    rng = np.random.default_rng(0)
    constants, nodes = [], []

    def conv(name: str, source: str, outputs: int, inputs: int, kernel: int, group: int) -> str:
        for key, shape in (('w', (outputs, inputs // group, kernel, kernel)), ('b', (outputs,))):
            value = rng.standard_normal(shape).astype(np.float32)
            constants.append(numpy_helper.from_array(value, f'{name}_{key}'))
        nodes.append(
            helper.make_node(
                'Conv', [source, f'{name}_w', f'{name}_b'], [name], name, group=group, pads=[kernel // 2] * 4
            )
        )
        return name

    source = 'x'
    if before:
        source = conv('before', source, channels, channels, 1, 1)
        nodes.append(helper.make_node('Relu', [source], ['relu']))
        source = 'relu'
    source = conv('depthwise', source, channels, channels, 5, channels)
    if after:
        nodes.append(helper.make_node('Sigmoid', [source], ['sigmoid']))
        source = conv('after', 'sigmoid', 7, channels, 1, 1)
    shape = [1, channels, 6, 8]
    graph = helper.make_graph(
        nodes,
        'test',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, list('nchw'))],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)


def run(model: onnx.ModelProto) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(1).standard_normal((1, 30, 6, 8)).astype(np.float32)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {'x': x})[0]


@pytest.mark.parametrize('before', [True, False])
@pytest.mark.parametrize('after', [True, False])
def test_same_result(before, after):
    model = make_model(before, after)
    expected = run(model)
    assert pad_depthwise(model, 16) == 1
    (node,) = (node for node in model.graph.node if node.op_type == 'Conv' and node.input[1].startswith('depthwise'))
    assert helper.get_node_attr_value(node, 'group') == 32
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    assert shapes[node.input[1]] == (32, 1, 5, 5)
    types = [node.op_type for node in model.graph.node]
    assert ('Pad' in types, 'Slice' in types) == (not before, not after)
    found = run(model)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_fitting_channels_stay():
    model = make_model(True, True)
    before = model.SerializeToString()
    assert pad_depthwise(model, 5) == 0
    assert model.SerializeToString() == before


def test_shared_input():
    """A tensor that somebody else reads keeps its channels."""
    model = make_model(True, False)
    model.graph.output.append(helper.make_tensor_value_info('relu', TensorProto.FLOAT, list('nchw')))
    expected = run(model)
    pad_depthwise(model, 16)
    assert 'Pad' in [node.op_type for node in model.graph.node]
    np.testing.assert_allclose(run(model), expected, rtol=1e-5, atol=1e-4)


def test_constant_behind_identity():
    model = make_model(True, True)
    for node in model.graph.node:
        if node.name == 'before':
            node.input[1] = 'handed_on'
    model.graph.node.insert(0, helper.make_node('Identity', ['before_w'], ['handed_on']))
    expected = run(model)
    assert pad_depthwise(model, 16) == 1
    assert 'Pad' not in [node.op_type for node in model.graph.node]
    np.testing.assert_allclose(run(model), expected, rtol=1e-5, atol=1e-4)
