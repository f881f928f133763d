import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mmthunder.export import InputSpec
from mmthunder.export.onnx_file import build_model
from mmthunder.export.quantize import quantize_onnxruntime, quantize_openvino
from mmthunder.runtime import Detector


@pytest.fixture(scope='module')
def calibration() -> list:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(4)]


@pytest.fixture
def model(make_detector, tmp_path):
    detector = make_detector()
    onnx.save(build_model(detector, InputSpec.from_config(detector.cfg)), tmp_path / 'detector.onnx')
    return tmp_path / 'detector.onnx'


def mean_best_score(path, images) -> float:
    """Of images with objects everywhere: close to 1 for these weights, unless quantisation destroys the features."""
    return float(np.mean([found.scores[0] for found in Detector(path, threads=1).detect(images)]))


def test_quantize(model, calibration, images, tmp_path):
    """Both runtimes' files run with the metadata of the original; its best scores stay near."""
    expected = mean_best_score(model, images)
    output = tmp_path / 'int8.onnx'
    quantize_onnxruntime(model, output, calibration)
    quantized = onnx.load(output)
    weights = {tensor.name: tensor.data_type for tensor in quantized.graph.initializer}
    types = [node.op_type for node in quantized.graph.node]
    assert types.count('QuantizeLinear') > 20
    floats = {name.split('.')[-2] for name, kind in weights.items()
              if name.endswith('.weight') and kind == onnx.TensorProto.FLOAT}
    assert floats >= {'rpn_cls', 'rpn_reg', 'fc_cls', 'fc_reg'}
    assert not any('trunk' in name and kind == onnx.TensorProto.FLOAT and name.endswith('weight')
                   for name, kind in weights.items())
    assert Detector(output).classes == Detector(model).classes
    assert mean_best_score(output, images) == pytest.approx(expected, abs=0.1)

    pytest.importorskip('nncf')
    output = tmp_path / 'int8.xml'
    quantize_openvino(model, output, calibration)
    text = output.read_text()
    assert text.count('type="FakeQuantize"') > 20 and 'element_type="i8"' in text
    assert Detector(output).classes == Detector(model).classes
    assert mean_best_score(output, images) == pytest.approx(expected, abs=0.1)


def test_every_size(tmp_path):
    pytest.importorskip('nncf')
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, [1, 'h', 'w', 3]) for name in ('images', 'boxes')]
    graph = helper.make_graph([helper.make_node('Identity', ['images'], ['boxes'])], 'detector', values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    onnx.save(model, tmp_path / 'dynamic.onnx')
    with pytest.raises(ValueError, match='dynamic.onnx: takes images of every size; .* export it with --shape'):
        quantize_openvino(tmp_path / 'dynamic.onnx', tmp_path / 'int8.xml', [])
    assert not (tmp_path / 'int8.xml').exists()
