"""Model files of strangers: one clear error, and no other file is read."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mmthunder.runtime import Detector, ModelFileError


@pytest.fixture(params=['onnxruntime', 'openvino'])
def backend(request):
    pytest.importorskip(request.param)
    return request.param


def refused(path: Path, backend: str, image: bool = False) -> str:
    with pytest.raises(ModelFileError) as error:
        detector = Detector(path, backend, threads=1)
        if image:
            detector(np.zeros((32, 16, 3), np.uint8))
    message = str(error.value)
    assert message.startswith(f'{path}: ') and '\n' not in message
    return message


@pytest.mark.parametrize('location', ['../../secret.bin', '{root}/secret.bin', '/etc/passwd', 'missing.bin'])
def test_weights_outside_of_the_folder(build_model, tmp_path, backend, location):
    """ONNX files may keep weights in other files; these have to be beside them."""
    np.zeros(12, np.float32).tofile(tmp_path / 'secret.bin')
    path = tmp_path / 'a/b/model.onnx'
    path.parent.mkdir(parents=True)
    model = build_model()
    (boxes,) = (tensor for tensor in model.graph.initializer if tensor.name == 'boxes_1')
    boxes.ClearField('raw_data')
    boxes.data_location = TensorProto.EXTERNAL
    for key, value in dict(location=location.format(root=tmp_path), offset='0', length='48').items():
        boxes.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    refused(path, backend)


def test_operators_of_others(build_model, tmp_path, backend):
    model = build_model()
    model.graph.node[0].domain = 'com.stranger'
    model.opset_import.append(helper.make_opsetid('com.stranger', 1))
    onnx.save(model, tmp_path / 'model.onnx')
    refused(tmp_path / 'model.onnx', backend)


@pytest.mark.parametrize('share', [0.0, 0.3, 0.9])
def test_cut_files(build_model, tmp_path, backend, share):
    content = build_model().SerializeToString()
    (tmp_path / 'model.onnx').write_bytes(content[: int(share * len(content))])
    refused(tmp_path / 'model.onnx', backend)


def test_metadata(build_model, tmp_path, backend):
    onnx.save(build_model(old=True, scale='[1e9, 16]'), tmp_path / 'model.onnx')
    assert "scale in its metadata is '[1e9, 16]', expected width" in refused(tmp_path / 'model.onnx', backend)
    onnx.save(build_model(pipeline='[{"type": "LoadImageFromFile"}]'), tmp_path / 'model.onnx')
    assert 'pipeline[0] has the keys' in refused(tmp_path / 'model.onnx', backend)


def test_size_that_does_not_fit(build_model, tmp_path, backend):
    onnx.save(build_model(old=True, scale='[17, 32]'), tmp_path / 'model.onnx')
    assert 'cannot run it' in refused(tmp_path / 'model.onnx', backend, image=True)


@pytest.mark.parametrize('classes', [1, 2])
def test_labels_without_a_class(build_model, tmp_path, backend, classes):
    model = build_model(classes=json.dumps(['cat'] * classes), category_ids=json.dumps([1] * classes))
    onnx.save(model, tmp_path / 'model.onnx')
    if classes == 2:
        assert Detector(tmp_path / 'model.onnx', backend)(np.zeros((32, 16, 3), np.uint8)).labels.tolist() == [1, 0]
    else:
        assert 'labels beyond the 1 classes' in refused(tmp_path / 'model.onnx', backend, image=True)


def change_outputs(model: onnx.ModelProto, kind: str) -> None:
    if kind == 'order':
        model.graph.output.append(model.graph.output[0])
        del model.graph.output[0]
    elif kind == 'fewer':
        del model.graph.output[0]
    else:
        (scores_1,) = (tensor for tensor in model.graph.initializer if tensor.name == 'scores_1')
        scores_1.CopyFrom(onnx.numpy_helper.from_array(np.full((1, 3), np.nan, np.float32), 'scores_1'))


@pytest.mark.parametrize(
    ('kind', 'message'),
    [('order', 'its outputs have the shapes'), ('fewer', 'its outputs have the shapes'), ('NaN', 'infinite or NaN')],
)
def test_other_outputs(build_model, tmp_path, backend, kind, message):
    model = build_model()
    change_outputs(model, kind)
    (tmp_path / 'model.onnx').write_bytes(model.SerializeToString())
    assert message in refused(tmp_path / 'model.onnx', backend, image=True)


def test_input_that_is_no_image(tmp_path, backend):
    info = helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, 5])
    graph = helper.make_graph(
        [helper.make_node('Identity', ['x'], ['y'])],
        'g',
        [info],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, [1, 5])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    values = dict(classes=['cat'], category_ids=[1], scale=[16, 32], keep_ratio=False, score_thr=0.05)
    helper.set_model_props(
        model, dict({key: json.dumps(value) for key, value in values.items()}, format='mmthunder detector 1')
    )
    onnx.save(model, tmp_path / 'model.onnx')
    assert 'its input has shape [1, 5], expected images' in refused(tmp_path / 'model.onnx', backend)


TEXTS = [
    '',
    '[' * 100000,
    '[]',
    '"x"',
    '{"metadata": 3}',
    '{"metadata": {"format": "mmthunder detector 1", "scale": 3}}',
]
TEXTS += ['{"metadata": {}}', '{"metadata": {}, "input_shape": 3}', '{"metadata": {}, "input_shape": [1, 2, 3]}']


class TestNcnn:
    @pytest.fixture(autouse=True)
    def package(self):
        pytest.importorskip('ncnn')

    @pytest.mark.parametrize('text', TEXTS)
    def test_settings_that_are_none(self, tmp_path, text):
        (tmp_path / 'detector.json').write_text(text)
        assert 'not a detector of tools/deployment/export_ncnn.py' in refused(tmp_path / 'detector.json', 'ncnn')

    @pytest.mark.parametrize('content', [None, b'', b'no network', b'7767517\n1 1\n', b'7767517\n99999 99999\n'])
    def test_networks_that_are_none(self, tmp_path, content):
        """They have fixed names beside the settings, in which no path can lead elsewhere."""
        settings = dict(metadata={}, input_shape=[1, 32, 16, 3], features='../../secret', param='/etc/passwd')
        (tmp_path / 'detector.json').write_text(json.dumps(settings))
        if content is not None:
            (tmp_path / 'features.param').write_bytes(content)
        with pytest.raises(ModelFileError, match=f'^{tmp_path}/features.(param|bin): missing or not readable; it'):
            Detector(tmp_path / 'detector.json')
