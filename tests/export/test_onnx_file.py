import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config

from mmthunder.apis import Agreement, detect
from mmthunder.export import DisagreementError, InputSpec, export_onnx, onnx_file
from mmthunder.runtime import Detector
from mmthunder.runtime.sessions import ONNX_BACKENDS


def agreement_of(detector, runtime, images, spec) -> Agreement:
    agreement = Agreement()
    for image, found in zip(images, runtime.detect(images)):
        agreement.add(detect(detector, image, spec.pipeline), found)
    return agreement


def backends() -> list:
    return [backend for backend in ONNX_BACKENDS if importlib.util.find_spec(backend)]


def replace_resize(cfg: Config, *steps: dict) -> None:
    """Put other steps in the place of the test pipeline's Resize."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    (index,) = (i for i, step in enumerate(pipeline) if step.type == 'Resize')
    pipeline[index : index + 1] = steps


def test_fixed(make_detector, images, tmp_path, monkeypatch):
    """A graph for single images of 64x64 px, of standard operators only."""
    detector, output = make_detector(), tmp_path / 'new' / 'detector.onnx'
    spec = InputSpec.from_config(detector.cfg)
    assert (spec.size, spec.dynamic, spec.batch) == ((64, 64), False, 1)
    agreement = export_onnx(detector, output, spec, images, threads=1)
    assert agreement.images == 3 and agreement.detections > 10 and agreement.unmatched == agreement.tied == 0
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
        assert runtime.preprocessing == spec.preprocessing
        agreement = agreement_of(detector, runtime, images, spec)
        assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)

    # The file of another detector is refused and leaves nothing behind.
    other = make_detector(test_cfg__rcnn__nms__iou_threshold=0.2)
    monkeypatch.setattr('mmthunder.export.onnx_file.build_model', lambda *args: model)
    with pytest.raises(DisagreementError, match='other.onnx is not written.*without a partner'):
        export_onnx(other, output.with_name('other.onnx'), spec, images, threads=1)
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.slow
def test_dynamic(make_detector, images, tmp_path):
    """One graph for every size and any number of images, with the head recipe of the release."""
    detector = make_detector(
        roi_head__bbox_head__reg_class_agnostic=False,
        roi_head__bbox_roi_extractor__roi_layer=dict(type='PSRoIAlign', output_size=7, pool_mode='max'),
    )
    replace_resize(detector.cfg, dict(type='Resize', scale=(120, 80), keep_ratio=True))
    spec = InputSpec.from_config(detector.cfg, batch=None)
    assert (spec.size, spec.dynamic, spec.batch) == ((120, 80), True, None)
    export_onnx(detector, tmp_path / 'detector.onnx', spec, images, threads=1)
    for backend in backends():
        runtime = Detector(tmp_path / 'detector.onnx', backend, threads=1)
        assert runtime.session.input_shape == [None, None, None, 3]
        assert runtime.preprocessing.output_size((50, 70)) == (80, 112)
        agreement = agreement_of(detector, runtime, images, spec)
        assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)


@pytest.mark.slow
def test_faster_rcnn(faster_rcnn, tmp_path):
    """RoIAlign of four levels and NMS of five in both runtimes."""
    images = [np.random.default_rng(i).integers(0, 256, (96, 128, 3), dtype=np.uint8) for i in range(2)]
    spec = InputSpec.from_config(faster_rcnn.cfg)
    export_onnx(faster_rcnn, tmp_path / 'detector.onnx', spec, images, threads=1)
    types = [node.op_type for node in onnx.load(tmp_path / 'detector.onnx').graph.node]
    assert types.count('RoiAlign') == 4
    for backend in backends():
        agreement = agreement_of(faster_rcnn, Detector(tmp_path / 'detector.onnx', backend, threads=1), images, spec)
        assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)


@pytest.mark.parametrize('shape', [None, (96, 64)], ids=['own size', '--shape'])
def test_letterbox(make_detector, images, tmp_path, shape):
    """What the config pads, the runtime pads, also to another size."""
    detector = make_detector()
    resize = dict(type='Resize', scale=(64, 64), keep_ratio=True)
    replace_resize(detector.cfg, resize, dict(type='Pad', size=(64, 64), pad_val=dict(img=(114, 114, 114))))
    spec = InputSpec.from_config(detector.cfg, shape)
    assert (spec.size, spec.dynamic) == ((64, 96) if shape else (64, 64), False)
    agreement = export_onnx(detector, tmp_path / 'detector.onnx', spec, images, threads=1)
    assert agreement.detections > 10 and agreement.unmatched == 0
    runtime = Detector(tmp_path / 'detector.onnx', 'onnxruntime', threads=1)
    batch = runtime.make_batch([np.zeros((80, 96, 3), np.uint8)])
    assert batch.shape == (1, *spec.size[::-1], 3)
    assert not batch[0, :52].any() and (batch[0, 56:] == 114).all()


@pytest.mark.slow
def test_float_input(make_detector, images, tmp_path):
    """With to_float32 resized values are not rounded, in the runtime either."""
    detector = make_detector()
    detector.cfg.test_dataloader.dataset.pipeline[0].to_float32 = True
    spec = InputSpec.from_config(detector.cfg)
    floats = [image.astype(np.float32) for image in images]  # as the config's loader reads them
    export_onnx(detector, tmp_path / 'detector.onnx', spec, images, threads=1)
    for backend in backends():
        runtime = Detector(tmp_path / 'detector.onnx', backend, threads=1)
        batch = runtime.make_batch(images[:1])
        assert batch.dtype == np.float32 and (batch % 1).any()
        agreement = Agreement(score_tolerance=1e-5, box_tolerance=1e-3)
        for image, found in zip(floats, runtime.detect(images)):
            agreement.add(detect(detector, image), found)
        assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)


@pytest.mark.slow
def test_grey(make_detector, images, tmp_path):
    detector = make_detector(
        backbone__in_channels=1, data_preprocessor=dict(mean=[114.0], std=[57.0], bgr_to_rgb=False)
    )
    detector.cfg.test_dataloader.dataset.pipeline[0].color_type = 'grayscale'
    spec = InputSpec.from_config(detector.cfg)
    agreement = export_onnx(detector, tmp_path / 'detector.onnx', spec, [image[..., 0] for image in images], threads=1)
    assert agreement.detections > 10 and agreement.unmatched == 0
    for backend in backends():
        assert Detector(tmp_path / 'detector.onnx', backend).session.input_shape == [1, 64, 64, 1]


@pytest.mark.parametrize('limited', [False, True])
def test_settings(make_detector, images, tmp_path, limited):
    """Settings that mmdet tests with: all boxes of every score and all anchors, or none of these keys."""
    detector = make_detector(
        test_cfg__rcnn=dict(max_per_img=20 if limited else -1, score_thr=-1, nms=dict(iou_threshold=0.5))
    )
    for key in ('nms_pre', 'min_bbox_size'):
        detector.rpn_head.test_cfg.pop(key)
        if not limited:
            detector.rpn_head.test_cfg[key] = -1
    spec = InputSpec.from_config(detector.cfg)
    agreement = export_onnx(detector, tmp_path / 'detector.onnx', spec, images, threads=1)
    assert agreement.detections > 10 and agreement.unmatched == 0
    runtime = Detector(tmp_path / 'detector.onnx', 'onnxruntime', threads=1)
    assert runtime.score_thr == 0
    counts = [len(found.boxes) for found in runtime.detect(images)]
    assert counts == [len(detect(detector, image).boxes) for image in images]
    assert max(counts) == 20 if limited else min(counts) > 50


@pytest.mark.slow
def test_equal_scores(make_detector, images, tmp_path, monkeypatch):
    """Scores of a head that has learned nothing are all equal; a graph that is really wrong is still refused."""

    def make(**options) -> torch.nn.Module:
        detector = make_detector(test_cfg__rcnn__max_per_img=1000, test_cfg__rpn__max_per_img=60, **options)
        for parameter in detector.roi_head.bbox_head.fc_cls.parameters():
            torch.nn.init.zeros_(parameter)
        return detector

    detector, wrong = make(), make(test_cfg__rcnn__nms__iou_threshold=0.8)
    spec = InputSpec.from_config(detector.cfg)
    agreement = export_onnx(detector, tmp_path / 'detector.onnx', spec, images, threads=1)
    assert agreement.unmatched == 0 and agreement.detections > 100
    model = onnx_file.build_model(wrong, spec)
    monkeypatch.setattr(onnx_file, 'build_model', lambda *args: model)
    with pytest.raises(DisagreementError, match='wrong.onnx is not written'):
        export_onnx(detector, tmp_path / 'wrong.onnx', spec, images, threads=1)


def test_some_equal_scores(make_detector, images, tmp_path):
    """A confident head, whose softmax gives exactly 1 for several overlapping boxes."""
    detector = make_detector()
    for parameter in detector.roi_head.bbox_head.fc_cls.parameters():
        parameter.data *= 40
    spec = InputSpec.from_config(detector.cfg)
    agreement = export_onnx(detector, tmp_path / 'detector.onnx', spec, images, threads=1)
    assert agreement.unmatched == 0 < agreement.tied < agreement.detections


def test_input_spec(make_detector):
    cfg = make_detector().cfg
    spec = InputSpec.from_config(cfg, shape=(48, 96))
    assert (spec.size, spec.dynamic, spec.channels, spec.dtype) == ((96, 48), False, 3, np.uint8)
    assert not spec.preprocessing.steps[0].keep_ratio
    spec = InputSpec.from_config(cfg, dynamic=True, batch=None)
    assert (spec.size, spec.dynamic, spec.batch) == ((64, 64), True, None)
    cfg.test_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile')]
    with pytest.raises(ValueError, match='the test pipeline has 0 Resize steps'):
        InputSpec.from_config(cfg)


def test_metadata_of_the_file(make_detector):
    """The checkpoint's ids, and the steps under mmdet's names."""
    detector = make_detector()
    detector.dataset_meta = dict(classes=('a', 'b', 'c', 'd', 'e', 'f'), category_ids=[0, 9, 2, 3, 4, 5])
    model = onnx_file.build_model(detector, InputSpec.from_config(detector.cfg))
    values = {prop.key: prop.value for prop in model.metadata_props}
    assert values.pop('format') == 'mmthunder detector 2'
    values = {key: json.loads(value) for key, value in values.items()}
    assert values['category_ids'] == [0, 9, 2, 3, 4, 5] and values['classes'] == list('abcdef')
    assert [step['type'] for step in values['pipeline']] == ['LoadImageFromFile', 'Resize']
    assert values['pipeline'][1]['scale'] == [64, 64]
    # Lines of code that the exporter notes would have this machine's paths.
    assert Path(onnx_file.__file__).parents[2].as_posix().encode() not in model.SerializeToString()
