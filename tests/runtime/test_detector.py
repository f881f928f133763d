import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import onnx
import pytest

from mmthunder.runtime import Detector, ModelFileError
from mmthunder.runtime.preprocessing import MAX_SIDE, Pad, Preprocessing, Resize
from mmthunder.runtime.sessions import open_session


@pytest.fixture(params=['onnxruntime', 'openvino'])
def backend(request):
    pytest.importorskip(request.param)
    return request.param


def zeros(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize('old', [False, True], ids=['format 2', 'format 1'])
def test_original_coordinates(build_model, tmp_path, backend, old):
    """An image twice as high and four times as wide as the graph's input."""
    onnx.save(build_model(old=old), tmp_path / 'model.onnx')
    detector = Detector(tmp_path / 'model.onnx', backend, threads=1)
    boxes, scores, labels = detector(zeros(64, 64))
    np.testing.assert_allclose(boxes, [[8, 8, 40, 40], [0, 0, 64, 64]])
    np.testing.assert_allclose(scores, [0.9, 0.4])
    assert labels.tolist() == [1, 0]
    assert detector.classes == ['cat', 'dog'] and detector.category_ids == [17, 18]
    assert detector.preprocessing == Preprocessing(steps=(Resize((16, 32)),))
    assert backend in detector.session.name.lower().replace(' ', '')


def test_threads(mean_file, backend):
    """Each thread gets the detections of its own images."""
    detector = Detector(mean_file, backend, threads=1)
    images = [np.full((64, 64, 3), 20 * i, np.uint8) for i in range(12)]

    def ask(k: int) -> float:
        return float(detector(images[k % 12]).scores[0])

    with ThreadPoolExecutor(8) as pool:
        scores = list(pool.map(ask, range(2400)))
    np.testing.assert_allclose(scores, [20 * (k % 12) / 255 for k in range(2400)], atol=1e-4)


def test_results_are_kept(mean_file, backend):
    """What a call returned does not change with the next call."""
    detector = Detector(mean_file, backend, threads=1)
    first = detector(np.full((64, 64, 3), 255, np.uint8))
    detector(zeros(64, 64))
    np.testing.assert_allclose(first.scores, [1], atol=1e-4)


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
    np.testing.assert_allclose(detector(zeros(5000, 2)).boxes[0], [4, 625, 20, 3125])
    boxes = [result.boxes[0].tolist() for result in detector.detect([zeros(64, 64), zeros(64, 32)])]
    assert boxes == [[8, 16, 40, 80], [4, 8, 20, 40]]


def test_padding(build_model, tmp_path, backend):
    """Padding moves no box: an image of 16x16 px has half of the input."""
    pipeline = Preprocessing(steps=(Resize((16, 16), keep_ratio=True), Pad((16, 32)))).to_list()
    onnx.save(build_model(pipeline=json.dumps(pipeline)), tmp_path / 'model.onnx')
    detector = Detector(tmp_path / 'model.onnx', backend, threads=1)
    np.testing.assert_allclose(detector(zeros(64, 64)).boxes[0], [8, 16, 40, 80])
    np.testing.assert_allclose(detector(zeros(32, 64)).boxes[0], [8, 16, 40, 80])


def test_grey(build_model, tmp_path, backend):
    onnx.save(build_model(channels=1), tmp_path / 'model.onnx')
    detector = Detector(tmp_path / 'model.onnx', backend, threads=1)
    cv2.imwrite(str(tmp_path / 'color.png'), np.full((8, 4, 3), (0, 0, 255), np.uint8))
    image = detector.read(tmp_path / 'color.png')
    assert image.shape == (8, 4) and (image == 76).all()
    assert len(detector(image).boxes) == len(detector(image[..., None]).boxes) == 2
    with pytest.raises(ValueError, match=r'image 0 has shape \(8, 4, 3\).*expected \(H, W\).*IMREAD_GRAYSCALE'):
        detector(zeros(8, 4))


@pytest.mark.parametrize(
    'image',
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), zeros(8, 8) * 1.0, zeros(0, 8), np.zeros(3, np.uint8)],
    ids=['grey', 'alpha', 'float', 'empty', 'vector'],
)
def test_wrong_image(model_file, image):
    with pytest.raises(ValueError, match='image 0 has shape.*expected'):
        Detector(model_file)(image)


def test_no_image(model_file):
    with pytest.raises(ValueError, match='image 1 is NoneType, expected an array .* cv2.imread gives None'):
        Detector(model_file).detect([zeros(8, 8), cv2.imread('missing.jpg')])


def test_too_large(build_model, tmp_path):
    """A factor that makes a side longer than OpenCV can."""
    pipeline = Preprocessing(steps=(Resize(scale_factor=(1000.0, 1.0)),)).to_list()
    onnx.save(build_model(keep_ratio=True, pipeline=json.dumps(pipeline)), tmp_path / 'model.onnx')
    with pytest.raises(ValueError, match=f'image 0 .* 40000x8 px; sides of at most {MAX_SIDE}'):
        Detector(tmp_path / 'model.onnx')(zeros(8, 40))


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


def test_providers(model_file, monkeypatch):
    """CUDA before the CPU where the build has it, and TensorRT only if it is asked for."""
    onnxruntime = pytest.importorskip('onnxruntime')
    session, given = onnxruntime.InferenceSession, []

    def open_with(path: str, options: object, providers: list) -> object:
        given.append(providers)
        return session(path, options, providers=['CPUExecutionProvider'])

    monkeypatch.setattr(onnxruntime, 'InferenceSession', open_with)
    cuda, cpu = 'CUDAExecutionProvider', 'CPUExecutionProvider'
    for available in (['TensorrtExecutionProvider', cuda, cpu], [cpu]):
        monkeypatch.setattr(onnxruntime, 'get_available_providers', available.copy)
        Detector(model_file, 'onnxruntime')
    assert given == [[cuda, cpu], [cpu]]
    Detector(model_file, providers=[cpu])
    assert given[-1] == [cpu]
    with pytest.raises(ValueError, match=f'no {cuda}; it has {cpu}'):
        Detector(model_file, providers=[cuda])
    with pytest.raises(ValueError, match='providers: openvino has none'):
        Detector(model_file, 'openvino', providers=[cpu])


def test_needs_no_framework(repo, model_file):
    """The runtime works where torch and mmdet are not installed; the torch side of the package stays away."""
    code = (
        'import sys\n'
        'for name in ("torch", "torchvision", "mmdet", "mmcv", "mmengine", "onnx", "PIL"): sys.modules[name] = None\n'
        'import numpy as np\n'
        'from mmthunder.runtime import Detector\n'
        'import mmthunder.runtime.__main__\n'
        f'print(len(Detector({str(model_file)!r}, threads=1)(np.zeros((8, 8, 3), np.uint8)).boxes))\n'
        'print([name for name in sys.modules if name.startswith("mmthunder.") and "runtime" not in name])'
    )
    result = subprocess.run([sys.executable, '-c', code], cwd=repo, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split('\n')[:2] == ['2', '[]']
