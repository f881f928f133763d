import pytest
import torch
from mmdet.registry import MODELS

from mmthunder.models import PSRoIExtractor, ps_roi_align

ROIS = torch.tensor([[0.0, 10.0, 20.0, 100.0, 90.0], [1.0, 30.0, 5.0, 60.0, 120.0], [0.0, -20.0, 70.0, 50.0, 150.0]])


def make_extractor(featmap_strides=(16,), **roi_layer) -> PSRoIExtractor:
    return MODELS.build(
        dict(
            type='PSRoIExtractor',
            roi_layer=dict(type='PSRoIAlign', output_size=3, **roi_layer),
            out_channels=4,
            featmap_strides=list(featmap_strides),
        )
    )


@pytest.mark.parametrize('stride', [8, 16])
def test_pools_the_first_map(stride):
    feats = torch.randn(2, 36, 9, 9), torch.randn(2, 7, 3, 3)
    extractor = make_extractor([stride], sampling_ratio=3, pool_mode='max')
    assert extractor.num_inputs == 1
    expected = ps_roi_align(feats[0], ROIS, (3, 3), 1 / stride, 3, 'max')
    assert expected.shape == (3, 4, 3, 3)
    assert torch.equal(extractor(feats, ROIS), expected)


def test_roi_scale_factor():
    feats = (torch.randn(2, 36, 9, 9),)
    centre, size = (ROIS[:, 1:3] + ROIS[:, 3:]) / 2, ROIS[:, 3:] - ROIS[:, 1:3]
    enlarged = torch.cat((ROIS[:, :1], centre - size * 0.75, centre + size * 0.75), 1)
    torch.testing.assert_close(make_extractor()(feats, ROIS, 1.5), make_extractor()(feats, enlarged))


def test_no_rois():
    assert make_extractor()((torch.randn(2, 36, 9, 9),), torch.zeros(0, 5)).shape == (0, 4, 3, 3)


def test_rois_stay_in_float32():
    feats = (torch.randn(2, 36, 80, 80, dtype=torch.bfloat16),)
    # bfloat16 rounds 1001 px to 1000.
    rois = torch.tensor([[1.0, 1001.0, 1001.0, 1019.0, 1019.0]])
    assert torch.equal(make_extractor()(feats, rois), ps_roi_align(feats[0].float(), rois, (3, 3), 1 / 16).bfloat16())


@pytest.mark.parametrize('featmap_strides', [(), (8, 16)])
def test_not_one_level(featmap_strides):
    with pytest.raises(ValueError, match=f'has {len(featmap_strides)} levels, but RoI features come from one map'):
        make_extractor(featmap_strides)
