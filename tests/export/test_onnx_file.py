import importlib.util
import json

import numpy as np
import onnx
import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config

from mmthunder.apis import Agreement, detect
from mmthunder.export import DisagreementError, InputSpec, export_onnx
from mmthunder.export.onnx_file import category_ids
from mmthunder.runtime import Detector
from mmthunder.runtime.sessions import ONNX_BACKENDS


def agreement_of(detector, runtime, images) -> Agreement:
    agreement = Agreement()
    for image, found in zip(images, runtime.detect(images)):
        agreement.add(detect(detector, image), found)
    return agreement


def backends() -> list:
    return [backend for backend in ONNX_BACKENDS if importlib.util.find_spec(backend)]


def test_fixed(make_detector, images, tmp_path, monkeypatch):
    """A graph for single images of 64x64 px, of standard operators only."""
    detector, output = make_detector(), tmp_path / 'new' / 'detector.onnx'
    spec = InputSpec.from_config(detector.cfg)
    assert spec == ((64, 64), False, False, 1)
    agreement = export_onnx(detector, output, spec, images, threads=1)
    assert agreement.images == 3 and agreement.detections > 10 and agreement.unmatched == 0
    assert list(output.parent.iterdir()) == [output]

    model = onnx.load(output)
    assert [opset.domain for opset in model.opset_import] == [''] and model.opset_import[0].version >= 17
    assert {node.domain for node in model.graph.node} == {''} and not model.functions
    types = [node.op_type for node in model.graph.node]
    assert types.count('NonMaxSuppression') == 2 and 'BatchNormalization' not in types and 'GridSample' not in types

    for backend in backends():
        runtime = Detector(output, backend, threads=1)
        assert runtime.session.input_shape == [1, 64, 64, 3]
        assert runtime.classes == ['circle', 'square', 'triangle', 'star', 'cross', 'ring']
        assert runtime.category_ids == [1, 2, 3, 4, 5, 6] and runtime.score_thr == 0.05
        agreement = agreement_of(detector, runtime, images)
        assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)

    # The file of another detector is refused and leaves nothing behind.
    other = make_detector(test_cfg__rcnn__nms__iou_threshold=0.2)
    monkeypatch.setattr('mmthunder.export.onnx_file.build_model', lambda *args: model)
    with pytest.raises(DisagreementError, match='other.onnx is not written.*without a partner'):
        export_onnx(other, output.with_name('other.onnx'), spec, images, threads=1)
    assert list(output.parent.iterdir()) == [output]


def test_dynamic(make_detector, images, tmp_path):
    """One graph for every size and any number of images, with the head recipe of the release."""
    detector = make_detector(
        roi_head__bbox_head__reg_class_agnostic=False,
        roi_head__bbox_roi_extractor__roi_layer=dict(type='PSRoIAlign', output_size=7, pool_mode='max'),
    )
    (resize,) = (step for step in detector.cfg.test_dataloader.dataset.pipeline if step.type == 'Resize')
    resize.update(scale=(120, 80), keep_ratio=True)
    spec = InputSpec.from_config(detector.cfg, batch=None)
    assert spec == ((120, 80), True, True, None)
    export_onnx(detector, tmp_path / 'detector.onnx', spec, images, threads=1)
    for backend in backends():
        runtime = Detector(tmp_path / 'detector.onnx', backend, threads=1)
        assert runtime.session.input_shape == [None, None, None, 3]
        assert runtime.input_size(images[2]) == (80, 112)
        agreement = agreement_of(detector, runtime, images)
        assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)


def test_faster_rcnn(faster_rcnn, tmp_path):
    """RoIAlign of four levels and NMS of five in both runtimes."""
    images = [np.random.default_rng(i).integers(0, 256, (96, 128, 3), dtype=np.uint8) for i in range(2)]
    export_onnx(faster_rcnn, tmp_path / 'detector.onnx', InputSpec.from_config(faster_rcnn.cfg), images, threads=1)
    types = [node.op_type for node in onnx.load(tmp_path / 'detector.onnx').graph.node]
    assert types.count('RoiAlign') == 4
    for backend in backends():
        agreement = agreement_of(faster_rcnn, Detector(tmp_path / 'detector.onnx', backend, threads=1), images)
        assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)


def test_other_shape(make_detector):
    cfg = make_detector().cfg
    assert InputSpec.from_config(cfg, shape=(48, 96)) == ((96, 48), False, False, 1)
    assert InputSpec.from_config(cfg, dynamic=True, batch=None) == ((64, 64), False, True, None)
    cfg.test_dataloader.dataset.pipeline = [dict(type='LoadNamedImage')]
    with pytest.raises(ValueError, match='the test pipeline has 0 Resize steps'):
        InputSpec.from_config(cfg)


def test_category_ids(tmp_path):
    coco = CocoDataset.METAINFO['classes']
    cfg = Config(dict(test_dataloader=dict(dataset=dict(data_root=str(tmp_path), ann_file='a.json'))))
    ids = category_ids(cfg, coco)
    assert (len(ids), ids[0], ids[79]) == (80, 1, 90) and ids[coco.index('chair')] == 62
    assert category_ids(cfg, ('cat', 'dog')) == [1, 2]
    (tmp_path / 'a.json').write_text(
        json.dumps(dict(categories=[dict(id=7, name='dog'), dict(id=3, name='cat'), dict(id=1, name='cow')]))
    )
    assert category_ids(cfg, ('cat', 'dog')) == [3, 7]
