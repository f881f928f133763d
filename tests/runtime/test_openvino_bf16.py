"""bfloat16 in OpenVINO, on processors that have it."""

import numpy as np
import pytest

from mmthunder.runtime import Detector
from mmthunder.runtime.__main__ import main
from mmthunder.runtime.openvino_bf16 import keep_boxes_in_f32
from mmthunder.runtime.sessions import open_session, openvino_core

openvino = pytest.importorskip('openvino')
CAPABILITIES = openvino_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
needs_bf16 = pytest.mark.skipif('BF16' not in CAPABILITIES, reason='needs a processor with bfloat16')


@needs_bf16
@pytest.mark.parametrize('kept', [True, False])
def test_keep_boxes_in_f32(kept):
    """Coordinates chosen by TopK lose their fraction in bfloat16 before a layer, unless they are kept."""
    from openvino import opset13 as ops

    rng = np.random.default_rng(0)
    weight = rng.normal(size=(64, 64)).astype(np.float32)
    inputs = ops.parameter([64, 64], dtype=np.float32)
    coordinates = ops.topk(inputs, 32, 1, 'max', 'value').output(0)
    inside = ops.subtract(coordinates, np.float32(300))
    features = ops.relu(ops.matmul(inside, weight[:32], False, False))
    model = openvino.Model([ops.result(ops.matmul(features, weight, False, False))], [inputs])
    if kept:
        keep_boxes_in_f32(model)
        assert len(model.outputs) == 2
    compiled = openvino_core().compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'bf16'})
    found = next(iter(compiled([np.full((64, 64), 300.3, np.float32)]).values()))
    expected = np.maximum(np.full((64, 32), 0.3) @ weight[:32], 0) @ weight
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert (error < 0.02) == kept, error


@needs_bf16
def test_detections(repo):
    """A detector finds the same objects in both precisions, and gives its own outputs only."""
    float32, bfloat16 = (
        Detector(repo / 'demo/snet49_bccd.onnx', 'openvino', 1, precision=precision) for precision in ('f32', 'bf16')
    )
    assert bfloat16.session.name == f'{float32.session.name}, bf16'
    near = total = 0
    for path in sorted((repo / 'demo').glob('*.jpg')):
        expected, found = (detector(detector.read(path)) for detector in (float32, bfloat16))
        assert not np.array_equal(expected.scores, found.scores), 'bf16 changed nothing'
        for box, score, label in zip(*expected):
            if score >= 0.5:
                same = (np.abs(found.boxes - box).max(1) < 8) & (found.labels == label)
                near, total = near + (np.abs(found.scores[same] - score) < 0.1).any(), total + 1
    assert total > 40 and near >= 0.9 * total, (near, total)


def test_processor_without(model_file, tmp_path, monkeypatch, capsys):
    """One line that says what is missing and what to do."""
    core = openvino_core()

    class Core:
        def get_property(self, device: str, name: str) -> list:
            return [capability for capability in core.get_property(device, name) if capability != 'BF16']

    monkeypatch.setattr('mmthunder.runtime.sessions.openvino_core', Core)
    arguments = [str(model_file), str(tmp_path), '--output', str(tmp_path / 'out'), '--precision', 'bf16']
    (tmp_path / 'a.jpg').touch()
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: precision: bf16 needs a processor with') and 'FP32' in line and "'f32'" in line


def test_other_backends(model_file, tmp_path):
    with pytest.raises(ValueError, match="bf16 is for .* backend 'openvino', not for onnxruntime; use 'f32'"):
        open_session(model_file, 'onnxruntime', precision='bf16')
    (tmp_path / 'detector.json').touch()
    with pytest.raises(ValueError, match='bf16 .* not for ncnn'):
        open_session(tmp_path / 'detector.json', precision='bf16')
    with pytest.raises(ValueError, match=r"unknown precision 'fp16'; use one of \['f32', 'bf16'\]"):
        open_session(model_file, precision='fp16')
    with pytest.raises(ValueError, match='bf16 .* not for onnxruntime'):
        open_session(model_file, providers=['CPUExecutionProvider'], precision='bf16')
