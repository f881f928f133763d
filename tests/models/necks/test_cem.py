import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS

from mmthunder.models import CEM


def make_feats(height: int = 6, width: int = 8) -> tuple:
    return torch.randn(2, 12, height, width), torch.randn(2, 20, -(-height // 2), -(-width // 2))


@pytest.mark.parametrize('upsample_mode', ['nearest', 'bilinear'])
@pytest.mark.parametrize(
    ('use_c4', 'use_c5', 'use_glb'), [(1, 1, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 0, 0), (0, 1, 0)]
)
def test_definition(use_c4, use_c5, use_glb, upsample_mode):
    cem = CEM((12, 20), 15, bool(use_c4), bool(use_c5), bool(use_glb), upsample_mode)
    feats = make_feats()
    expected = torch.zeros(2, 15, 6, 8)
    if use_c4:
        expected = expected + F.conv2d(feats[0], cem.conv_c4.weight, cem.conv_c4.bias)
    if use_c5:
        c5 = F.conv2d(feats[1], cem.conv_c5.weight, cem.conv_c5.bias)
        expected = expected + F.interpolate(c5, scale_factor=2, mode=upsample_mode)
    if use_glb:
        mean = feats[1].mean((2, 3), keepdim=True)
        expected = expected + F.conv2d(mean, cem.conv_glb.weight, cem.conv_glb.bias)
    (out,) = cem(feats)
    torch.testing.assert_close(out, expected)
    # A branch that is off has no weights.
    used = 12 * 15 * use_c4 + 20 * 15 * (use_c5 + use_glb) + 15 * (use_c4 + use_c5 + use_glb)
    assert sum(p.numel() for p in cem.parameters()) == used


@pytest.mark.parametrize('size', [(21, 14), (7, 9), (1, 1), (1, 10), (13, 1)])
def test_odd_sizes(size):
    """The result has C4's size even where C5's is not half of it."""
    (out,) = CEM((12, 20), 15)(make_feats(*size))
    assert out.shape == (2, 15, *size)


def test_default_sizes():
    """All three branches, of 245 channels."""
    cem = CEM((12, 20))
    assert cem.conv_c4.weight.shape == (245, 12, 1, 1)
    assert cem.conv_c5.weight.shape == cem.conv_glb.weight.shape == (245, 20, 1, 1)


@pytest.mark.parametrize('in_channels', [(12,), (12, 20, 30)])
def test_not_two_levels(in_channels):
    with pytest.raises(ValueError, match='must be the channels of two levels, C4 and C5'):
        CEM(in_channels)


def test_global_branch_alone():
    with pytest.raises(ValueError, match='use_c4 and use_c5 are both False'):
        CEM((12, 20), use_c4=False, use_c5=False)


@pytest.mark.parametrize(
    ('channels', 'given'),
    [
        ((12, 24), r'2 levels with \[12, 24\]'),
        ((20, 12), r'2 levels with \[20, 12\]'),
        ((12,), r'1 levels with \[12\]'),
        ((8, 12, 20), r'3 levels with \[8, 12, 20\]'),
    ],
)
def test_channels_that_do_not_fit(channels, given):
    cem = MODELS.build(dict(type='CEM', in_channels=[12, 20]))
    with pytest.raises(ValueError, match=rf'in_channels \[12, 20\] do not fit the backbone, which gives {given}'):
        cem(tuple(torch.zeros(1, c, 2, 2) for c in channels))


def test_release_golden(shared):
    weights = torch.load(shared / 'golden/release_layout_random.pth', weights_only=True)['state_dict']
    golden = torch.load(shared / 'golden/release_layout_expected.pth', weights_only=True)
    cem = CEM((264, 528))
    for conv, name in ((cem.conv_c4, 'C4'), (cem.conv_c5, 'C5'), (cem.conv_glb, 'Cglb')):
        conv.weight.data, conv.bias.data = weights[f'neck.{name}.weight'], weights[f'neck.{name}.bias']
    (out,) = cem((golden['stage3'], golden['stage4']))
    torch.testing.assert_close(out, golden['cem'], rtol=1e-4, atol=1e-4)
