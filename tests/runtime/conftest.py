"""A graph in the exporter's form that finds the same two objects in every image."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


def build(batch=1, keep_ratio: bool = False, **metadata) -> onnx.ModelProto:
    """Label 1 in (2, 4, 10, 20), label 0 in the whole image of 16x32 px, and a third that only fills up."""
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
        [helper.make_tensor_value_info('images', TensorProto.UINT8, [batch, *sides, 3])],
        [
            helper.make_tensor_value_info('boxes', TensorProto.FLOAT, [batch, 3, 4]),
            helper.make_tensor_value_info('scores', TensorProto.FLOAT, [batch, 3]),
            helper.make_tensor_value_info('labels', TensorProto.INT64, [batch, 3]),
        ],
        [numpy_helper.from_array(value, f'{name}_1') for name, value in constants.items()]
        + [numpy_helper.from_array(np.ones(1, np.int64), 'ones')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    values = dict(classes=['cat', 'dog'], category_ids=[17, 18], scale=[16, 32], keep_ratio=keep_ratio, score_thr=0.05)
    values = {key: json.dumps(value) for key, value in values.items()}
    helper.set_model_props(model, dict(values, format='mmthunder detector 1') | metadata)
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
