import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest

from mmthunder.runtime import Detector, ModelFileError
from mmthunder.runtime.sessions import open_session


@pytest.fixture(params=['onnxruntime', 'openvino'])
def backend(request):
    pytest.importorskip(request.param)
    return request.param


def zeros(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def test_original_coordinates(model_file, backend):
    """An image twice as high and four times as wide as the graph's input."""
    detector = Detector(model_file, backend, threads=1)
    boxes, scores, labels = detector(zeros(64, 64))
    np.testing.assert_allclose(boxes, [[8, 8, 40, 40], [0, 0, 64, 64]])
    np.testing.assert_allclose(scores, [0.9, 0.4])
    assert labels.tolist() == [1, 0]
    assert detector.classes == ['cat', 'dog'] and detector.category_ids == [17, 18]
    assert backend in detector.session.name.lower().replace(' ', '')


def test_signal_after_detectors(model_file, backend):
    """Detectors that end in the order they were made in leave the process able to take signals."""
    code = f"""
import signal
from mmthunder.runtime import Detector
first, second = (Detector({str(model_file)!r}, {backend!r}, threads=1) for _ in range(2))
del first
del second
signal.signal(signal.SIGUSR1, lambda *args: print('alive'))
signal.raise_signal(signal.SIGUSR1)
"""
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stdout) == (0, 'alive\n'), result.stderr


@pytest.mark.parametrize('batch', [1, 2, 'n'])
def test_batch(build_model, tmp_path, backend, batch):
    """Images of different sizes come back in their order, whatever batch the graph takes."""
    onnx.save(build_model(batch), tmp_path / 'model.onnx')
    detector = Detector(tmp_path / 'model.onnx', backend, threads=1)
    results = detector.detect([zeros(32, 16), zeros(64, 16), zeros(32, 32)])
    assert [result.boxes[1].tolist() for result in results] == [[0, 0, 16, 32], [0, 0, 16, 64], [0, 0, 32, 32]]
    assert detector.detect([]) == []


def test_keep_ratio(build_model, tmp_path, backend):
    """The longer side within 32 px and the shorter within 16, rounded as mmcv does."""
    onnx.save(build_model('n', keep_ratio=True), tmp_path / 'model.onnx')
    detector = Detector(tmp_path / 'model.onnx', backend, threads=1)
    assert detector.input_size(zeros(64, 64)) == (16, 16)
    assert detector.input_size(zeros(100, 33)) == (11, 32)
    assert detector.input_size(zeros(33, 100)) == (32, 11)
    assert detector.input_size(zeros(5000, 2)) == (1, 32) and detector.input_size(zeros(2, 5000)) == (32, 1)
    np.testing.assert_allclose(detector(zeros(5000, 2)).boxes[0], [4, 625, 20, 3125])
    boxes = [result.boxes[0].tolist() for result in detector.detect([zeros(64, 64), zeros(64, 32)])]
    assert boxes == [[8, 16, 40, 80], [4, 8, 20, 40]]


@pytest.mark.parametrize(
    'image',
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), zeros(8, 8) * 1.0, zeros(0, 8)],
    ids=['grey', 'alpha', 'float', 'empty'],
)
def test_wrong_image(model_file, image):
    with pytest.raises(ValueError, match='image 0 has shape.*expected'):
        Detector(model_file)(image)


def test_no_image(model_file):
    with pytest.raises(ValueError, match='image 1 is NoneType, expected an array .* cv2.imread gives None'):
        Detector(model_file).detect([zeros(8, 8), cv2.imread('missing.jpg')])


def test_wrong_file(build_model, tmp_path, backend):
    with pytest.raises(FileNotFoundError, match='no such model file'):
        Detector(tmp_path / 'missing.onnx', backend)
    (tmp_path / 'text.onnx').write_text('not a model')
    with pytest.raises(ModelFileError, match='text.onnx: not a graph that'):
        Detector(tmp_path / 'text.onnx', backend)
    onnx.save(build_model(format='other'), tmp_path / 'other.onnx')
    with pytest.raises(ModelFileError, match="format 'other', expected"):
        Detector(tmp_path / 'other.onnx', backend)


def test_backends(model_file, monkeypatch):
    with pytest.raises(ValueError, match="unknown backend 'tensorrt'"):
        open_session(model_file, 'tensorrt')
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ImportError, match='needs onnxruntime; pip install onnxruntime'):
        open_session(model_file, 'onnxruntime')
    pytest.importorskip('openvino')
    assert 'OpenVINO' in open_session(model_file).name


def test_needs_no_framework(repo, model_file):
    """The runtime works where torch and mmdet are not installed; the torch side of the package stays away."""
    code = (
        'import sys\n'
        'for name in ("torch", "torchvision", "mmdet", "mmcv", "mmengine", "onnx"): sys.modules[name] = None\n'
        'import numpy as np\n'
        'from mmthunder.runtime import Detector\n'
        'import mmthunder.runtime.__main__\n'
        f'print(len(Detector({str(model_file)!r}, threads=1)(np.zeros((8, 8, 3), np.uint8)).boxes))\n'
        'print([name for name in sys.modules if name.startswith("mmthunder.") and "runtime" not in name])'
    )
    result = subprocess.run([sys.executable, '-c', code], cwd=repo, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split('\n')[:2] == ['2', '[]']
