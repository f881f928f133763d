import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from mmthunder.apis import Agreement, detect
from mmthunder.export import DisagreementError, InputSpec, ncnn_files
from mmthunder.export.ncnn_files import ShuffledBlock, export_ncnn
from mmthunder.models.backbones.snet import SHUFFLES, SNetBlock
from mmthunder.runtime import Detections, Detector, ModelFileError


@pytest.mark.parametrize('shuffle', SHUFFLES)
def test_shuffled_block(shuffle):
    block = SNetBlock(12, 12, shuffle=shuffle).eval()
    x = torch.randn(1, 12, 6, 7)
    torch.testing.assert_close(ShuffledBlock(block, 12)(x), block(x))


@pytest.fixture(scope='module', autouse=True)
def packages():
    pytest.importorskip('ncnn')
    pytest.importorskip('pnnx')


def test_threads(make_detector, images, tmp_path):
    """Each thread gets the detections of its own images."""
    detector = make_detector()
    export_ncnn(detector, tmp_path, InputSpec.from_config(detector.cfg), images)
    runtime = Detector(tmp_path / 'detector.json', threads=1)
    alone = [runtime(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: runtime(images[k % 3]), range(60)))
    assert all(np.array_equal(*pair) for k, other in enumerate(found) for pair in zip(alone[k % 3], other))


def test_settings(make_detector, images, tmp_path):
    """All boxes, all anchors, one channel, and images that are padded."""
    detector = make_detector(
        backbone__in_channels=1,
        data_preprocessor=dict(mean=None, std=None, bgr_to_rgb=False),
        test_cfg__rcnn__max_per_img=-1,
        test_cfg__rpn=dict(max_per_img=200, nms=dict(type='nms', iou_threshold=0.7)),
    )
    pipeline = detector.cfg.test_dataloader.dataset.pipeline
    pipeline[0].color_type = 'grayscale'
    pipeline[1].keep_ratio = True
    pipeline.insert(2, dict(type='Pad', size=(64, 64), pad_val=114))
    grey = [image[..., 0] for image in images]
    agreement = export_ncnn(detector, tmp_path, InputSpec.from_config(detector.cfg), grey)
    assert agreement.detections > 10 and agreement.unmatched == 0
    found = Detector(tmp_path / 'detector.json', threads=1)(grey[0])
    assert len(found.boxes) == len(detect(detector, grey[0]).boxes)


@pytest.mark.parametrize('recipe', ['paper', 'release'])
def test_export(make_detector, images, tmp_path, recipe):
    options = (
        {}
        if recipe == 'paper'
        else dict(
            data_preprocessor__mean=None,  # no normalisation
            data_preprocessor__std=None,
            roi_head__bbox_head__num_shared_fcs=2,
            roi_head__bbox_head__reg_class_agnostic=False,
            roi_head__bbox_roi_extractor__roi_layer=dict(
                type='PSRoIAlign', output_size=7, pool_mode='max', aligned=False, min_size=0.1
            ),
        )
    )
    detector = make_detector(**options)
    agreement = export_ncnn(detector, tmp_path, InputSpec.from_config(detector.cfg), images)
    assert agreement.detections > 10 and agreement.unmatched == 0
    names = [f'{net}.{suffix}' for net in ('features', 'head') for suffix in ('bin', 'param')]
    assert sorted(path.name for path in tmp_path.iterdir()) == ['detector.json', *names]
    runtime = Detector(tmp_path / 'detector.json', threads=1)
    assert runtime.session.name.startswith('ncnn') and runtime.category_ids == [1, 2, 3, 4, 5, 6]
    agreement = Agreement()
    for image, found in zip(images, runtime.detect(images)):
        agreement.add(detect(detector, image), found)
    assert agreement.unmatched == 0, str(agreement)

    # A file of the first format, which has the size in scale.
    settings = json.loads((tmp_path / 'detector.json').read_text())
    assert settings.pop('input_shape') == [1, 64, 64, 3]
    settings['metadata'].update(format='mmthunder detector 1', scale=[64, 64], keep_ratio=False)
    (tmp_path / 'detector.json').write_text(json.dumps(settings))
    older = Detector(tmp_path / 'detector.json', threads=1)
    assert all(np.array_equal(*pair) for image in images for pair in zip(runtime(image), older(image)))

    # Where nothing is proposed, nothing is found.
    assert (settings['preprocess']['std'] == [1, 1, 1]) is (settings['metadata']['std'] is None) is (recipe != 'paper')
    settings['rpn']['min_bbox_size'] = 1000
    (tmp_path / 'detector.json').write_text(json.dumps(settings))
    runtime = Detector(tmp_path / 'detector.json', threads=1)
    assert [len(found.boxes) for found in runtime.detect(images)] == [0, 0, 0]

    (tmp_path / 'head.bin').unlink()
    with pytest.raises(ModelFileError, match='head.bin: missing'):
        Detector(tmp_path / 'detector.json')


def test_half_precision(make_detector, images, tmp_path, monkeypatch):
    """Two bytes a weight; some detections may change, but not all of them."""
    detector = make_detector()
    spec = InputSpec.from_config(detector.cfg)
    agreement = export_ncnn(detector, tmp_path, spec, images, fp16=True)
    assert agreement.detections > 10 and agreement.unmatched <= agreement.detections / 5
    weights = sum(value.numel() for value in detector.state_dict().values())
    assert sum(path.stat().st_size for path in tmp_path.glob('*.bin')) < 2.5 * weights

    def detect_elsewhere(*args) -> Detections:
        boxes, scores, labels = detect(*args)
        return Detections(boxes + 5, scores, labels)

    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr('mmthunder.export.ncnn_files.detect', detect_elsewhere)
    with pytest.raises(DisagreementError, match='disagree, so .* is not written'):
        export_ncnn(detector, tmp_path, spec, images, fp16=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_error_of_pnnx(make_detector, images, tmp_path, monkeypatch):
    """Where the head cannot be converted, the features of the earlier export stay too."""
    (tmp_path / 'features.bin').write_text('earlier')

    def fail(module: torch.nn.Module, inputs: torch.Tensor, path: Path, *args, **kwargs) -> None:
        if path.name == 'head':
            raise RuntimeError('pnnx')
        path.with_suffix('.bin').write_text('new')

    monkeypatch.setattr(ncnn_files, '_convert', fail)
    detector = make_detector()
    with pytest.raises(RuntimeError, match='pnnx'):
        export_ncnn(detector, tmp_path, InputSpec.from_config(detector.cfg), images)
    assert [path.read_text() for path in tmp_path.iterdir()] == ['earlier']


def test_errors(make_detector, tmp_path):
    detector = make_detector()
    with pytest.raises(ValueError, match='give --shape'):
        export_ncnn(detector, tmp_path, InputSpec.from_config(detector.cfg, dynamic=True), [])
    (tmp_path / 'detector.json').write_text('{}')
    with pytest.raises(ModelFileError, match='not a detector of tools/deployment/export_ncnn.py'):
        Detector(tmp_path / 'detector.json')
