"""A graph in the exporter's form that finds the same two objects in every image."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mmthunder.runtime.preprocessing import LoadImageFromFile, Preprocessing, Resize


def build(batch=1, keep_ratio: bool = False, channels: int = 3, old: bool = False, **metadata) -> onnx.ModelProto:
    """Label 1 in (2, 4, 10, 20), label 0 in the full image of 16x32 px, and a third that is padding.

    Args:
        batch (int or str): Images per call.
        keep_ratio (bool): Whether the Resize keeps the aspect ratio, and the graph takes every size.
        channels (int): Channels of the input.
        old (bool): Whether the metadata are those of format 1.
        metadata (dict[str, str]): Metadata to replace.
    """
    constants = dict(
        boxes=np.array([[[2, 4, 10, 20], [0, 0, 16, 32], [0, 0, 0, 0]]], np.float32),
        scores=np.array([[0.9, 0.4, 0]], np.float32),
        labels=np.array([[1, 0, -1]], np.int64),
    )
    nodes = [
        helper.make_node('Shape', ['images'], ['count'], start=0, end=1),
        helper.make_node('Concat', ['count', 'ones'], ['repeats2'], axis=0),
        helper.make_node('Concat', ['count', 'ones', 'ones'], ['repeats3'], axis=0),
        helper.make_node('Tile', ['boxes_1', 'repeats3'], ['boxes']),
        helper.make_node('Tile', ['scores_1', 'repeats2'], ['scores']),
        helper.make_node('Tile', ['labels_1', 'repeats2'], ['labels']),
    ]
    sides = ('h', 'w') if keep_ratio else (32, 16)
    graph = helper.make_graph(
        nodes,
        'detector',
        [helper.make_tensor_value_info('images', TensorProto.UINT8, [batch, *sides, channels])],
        [
            helper.make_tensor_value_info('boxes', TensorProto.FLOAT, [batch, 3, 4]),
            helper.make_tensor_value_info('scores', TensorProto.FLOAT, [batch, 3]),
            helper.make_tensor_value_info('labels', TensorProto.INT64, [batch, 3]),
        ],
        [numpy_helper.from_array(value, f'{name}_1') for name, value in constants.items()]
        + [numpy_helper.from_array(np.ones(1, np.int64), 'ones')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    values = dict(classes=['cat', 'dog'], category_ids=[17, 18], score_thr=0.05)
    if old:
        values.update(scale=[16, 32], keep_ratio=keep_ratio)
    else:
        loader = LoadImageFromFile('color' if channels == 3 else 'grayscale')
        values['pipeline'] = Preprocessing(loader, (Resize((16, 32), keep_ratio=keep_ratio),)).to_list()
    values = {key: json.dumps(value) for key, value in values.items()}
    helper.set_model_props(model, dict(values, format=f'mmthunder detector {1 if old else 2}') | metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """For single images of 32x16 px."""
    onnx.save(build(), tmp_path / 'model.onnx')
    return tmp_path / 'model.onnx'


@pytest.fixture
def build_model():
    """The function that builds the graph."""
    return build


def build_mean(rounds: int = 20) -> onnx.ModelProto:
    """A graph of 64x64 px whose only detection has the mean of the image, from 0 to 1, as its score.

    Matrix products take it long enough for calls of several threads to overlap.
    """
    nodes = [helper.make_node('Cast', ['images'], ['floats'], to=TensorProto.FLOAT)]
    nodes += [helper.make_node('Mul', ['floats', 'scale'], ['scaled'])]
    nodes += [helper.make_node('ReduceMean', ['scaled', 'axes'], ['rows_0'], keepdims=0)]  # (1, 64)
    for i in range(rounds):
        nodes.append(helper.make_node('MatMul', [f'rows_{i}', 'average'], [f'rows_{i + 1}']))
    nodes += [
        helper.make_node('ReduceMean', [f'rows_{rounds}', 'last'], ['scores'], keepdims=1),
        helper.make_node('Tile', ['boxes_1', 'repeats'], ['boxes']),
        helper.make_node('Cast', ['labels_1'], ['labels'], to=TensorProto.INT64),
    ]
    constants = dict(
        scale=np.float32(1 / 255),
        axes=np.array([2, 3]),
        average=np.full((64, 64), 1 / 64, np.float32),
        last=np.array([1]),
        boxes_1=np.array([[[0, 0, 64, 64]]], np.float32),
        repeats=np.array([1, 1, 1]),
        labels_1=np.zeros((1, 1), np.float32),
    )
    graph = helper.make_graph(
        nodes,
        'detector',
        [helper.make_tensor_value_info('images', TensorProto.UINT8, [1, 64, 64, 3])],
        [
            helper.make_tensor_value_info('boxes', TensorProto.FLOAT, [1, 1, 4]),
            helper.make_tensor_value_info('scores', TensorProto.FLOAT, [1, 1]),
            helper.make_tensor_value_info('labels', TensorProto.INT64, [1, 1]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    pipeline = Preprocessing(LoadImageFromFile(), (Resize((64, 64)),)).to_list()
    values = dict(classes=['mean'], category_ids=[1], score_thr=0.0, pipeline=pipeline)
    values = {key: json.dumps(value) for key, value in values.items()}
    helper.set_model_props(model, dict(values, format='mmthunder detector 2'))
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.fixture
def mean_file(tmp_path: Path) -> Path:
    """The file of :func:`build_mean`."""
    onnx.save(build_mean(), tmp_path / 'mean.onnx')
    return tmp_path / 'mean.onnx'
