from pathlib import Path

import numpy as np
import onnx
import pytest

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


def interrupted(model: object, output: Path, *args, **kwargs) -> None:
    output.write_text('half')
    output.with_suffix('.bin').write_text('half')
    raise KeyboardInterrupt


@pytest.mark.slow
def test_quantize(model, calibration, images, tmp_path, monkeypatch):
    """Both runtimes' files run with the metadata of the original; its best scores stay near."""
    expected = mean_best_score(model, images)
    output = tmp_path / 'int8.onnx'
    quantize_onnxruntime(model, output, calibration)
    quantized = onnx.load(output)
    weights = {tensor.name: tensor.data_type for tensor in quantized.graph.initializer}
    types = [node.op_type for node in quantized.graph.node]
    assert types.count('QuantizeLinear') > 20
    floats = {
        name.split('.')[-2]
        for name, kind in weights.items()
        if name.endswith('.weight') and kind == onnx.TensorProto.FLOAT
    }
    assert floats >= {'rpn_cls', 'rpn_reg', 'fc_cls', 'fc_reg'}
    assert not any(
        'trunk' in name and kind == onnx.TensorProto.FLOAT and name.endswith('weight') for name, kind in weights.items()
    )
    assert Detector(output).classes == Detector(model).classes
    assert mean_best_score(output, images) == pytest.approx(expected, abs=0.1)

    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    monkeypatch.setattr('onnxruntime.quantization.quantize_static', interrupted)
    with pytest.raises(KeyboardInterrupt):
        quantize_onnxruntime(model, output, calibration)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before

    pytest.importorskip('nncf')
    output = tmp_path / 'int8.xml'
    quantize_openvino(model, output, calibration)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {*before, 'int8.xml', 'int8.bin'}
    text = output.read_text()
    assert text.count('type="FakeQuantize"') > 20 and 'element_type="i8"' in text
    assert Detector(output).classes == Detector(model).classes
    assert mean_best_score(output, images) == pytest.approx(expected, abs=0.1)
    monkeypatch.setattr('nncf.quantize', lambda graph, *args, **kwargs: graph)
    monkeypatch.setattr('openvino.save_model', interrupted)
    with pytest.raises(KeyboardInterrupt):
        quantize_openvino(model, output, calibration)
    assert output.read_text() == text and output.with_suffix('.bin').stat().st_size > 4


@pytest.mark.slow
def test_every_size(model, tmp_path):
    pytest.importorskip('nncf')
    graph = onnx.load(model)
    for dim, name in zip(graph.graph.input[0].type.tensor_type.shape.dim[1:3], 'hw'):
        dim.dim_param = name
    onnx.save(graph, tmp_path / 'dynamic.onnx')
    with pytest.raises(ValueError, match='dynamic.onnx: takes images of every size; .* export it with --shape'):
        quantize_openvino(tmp_path / 'dynamic.onnx', tmp_path / 'int8.xml', [])
    assert not (tmp_path / 'int8.xml').exists()
