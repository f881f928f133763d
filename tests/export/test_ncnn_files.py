import pytest
import torch

from mmthunder.export import InputSpec, detect
from mmthunder.export.agreement import Agreement
from mmthunder.export.ncnn_files import ShuffledBlock, check_supported, export_ncnn
from mmthunder.models.backbones.snet import SHUFFLES, SNetBlock
from mmthunder.runtime import Detector, ModelFileError


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
    options = {} if recipe == 'paper' else dict(
        roi_head__bbox_head__num_shared_fcs=2,
        roi_head__bbox_head__reg_class_agnostic=False,
        roi_head__bbox_roi_extractor__roi_layer=dict(
            type='PSRoIAlign', output_size=7, pool_mode='max', aligned=False, min_size=0.1))
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

    (tmp_path / 'head.bin').unlink()
    with pytest.raises(ModelFileError, match='head.bin: missing'):
        Detector(tmp_path / 'detector.json')


def test_errors(make_detector, tmp_path):
    detector = make_detector()
    with pytest.raises(ValueError, match='give --shape'):
        export_ncnn(detector, tmp_path, InputSpec.from_config(detector.cfg, dynamic=True), [])
    with pytest.raises(NotImplementedError, match='ncnn takes a ThunderNet'):
        check_supported(detector.backbone)
    (tmp_path / 'detector.json').write_text('{}')
    with pytest.raises(ModelFileError, match='not a detector of tools/deployment/export_ncnn.py'):
        Detector(tmp_path / 'detector.json')
