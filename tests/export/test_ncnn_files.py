import copy
import json
from pathlib import Path

import pytest
import torch
from mmdet.models.task_modules import LegacyDeltaXYWHBBoxCoder

from mmthunder.apis import Agreement, detect
from mmthunder.export import DisagreementError, InputSpec, ncnn_files
from mmthunder.export.ncnn_files import ShuffledBlock, check_supported, export_ncnn
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

    # Where nothing is proposed, nothing is found.
    settings = json.loads((tmp_path / 'detector.json').read_text())
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
    with pytest.raises(NotImplementedError, match='ncnn takes a ThunderNet'):
        check_supported(detector.backbone)
    coder = detector.roi_head.bbox_head.bbox_coder
    for name, value in (('clip_border', False), ('add_ctr_clamp', True)):
        unclipped = copy.deepcopy(detector)
        setattr(unclipped.roi_head.bbox_head.bbox_coder, name, value)
        with pytest.raises(NotImplementedError, match='roi_head.bbox_head.bbox_coder is not .* clip_border=True'):
            check_supported(unclipped)
    detector.rpn_head.bbox_coder = LegacyDeltaXYWHBBoxCoder(coder.means, coder.stds)
    with pytest.raises(NotImplementedError, match='rpn_head.bbox_coder is not'):
        check_supported(detector)
    detector.roi_head.test_cfg.nms.class_agnostic = True
    with pytest.raises(NotImplementedError, match='test_cfg.rcnn.nms is'):
        check_supported(detector)
    (tmp_path / 'detector.json').write_text('{}')
    with pytest.raises(ModelFileError, match='not a detector of tools/deployment/export_ncnn.py'):
        Detector(tmp_path / 'detector.json')
