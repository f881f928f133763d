import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from mmthunder.models import LightRPNHead


def make_head(strides=(16,), **kwargs) -> LightRPNHead:
    anchors = dict(
        type='AnchorGenerator', scales=[2, 4, 8, 16, 32], ratios=[0.5, 0.75, 1.0, 4 / 3, 2.0], strides=list(strides)
    )
    return MODELS.build(dict(type='LightRPNHead', in_channels=245, anchor_generator=anchors, **kwargs))


def test_trunk():
    """5x5 depthwise and 1x1, each with BN and ReLU."""
    head = make_head()
    depthwise, pointwise = head.trunk
    assert (depthwise.kernel_size, depthwise.groups, depthwise.out_channels) == ((5, 5), 245, 245)
    assert (pointwise.kernel_size, pointwise.groups, pointwise.out_channels) == ((1, 1), 1, 256)
    assert all(conv.with_activation and isinstance(conv.norm, nn.BatchNorm2d) for conv in head.trunk)
    assert head.trunk(torch.randn(2, 245, 9, 7)).shape == (2, 256, 9, 7)
    trunk = 245 * 25 + 2 * 245 + 245 * 256 + 2 * 256
    outputs = 256 * 25 + 25 + 256 * 100 + 100
    assert sum(p.numel() for p in head.parameters()) == trunk + outputs


def test_full_convolution():
    head = make_head(feat_channels=32, kernel_size=3, depthwise=False, norm_cfg=dict(type='GN', num_groups=4))
    assert (head.trunk.kernel_size, head.trunk.groups) == ((3, 3), 1)
    assert isinstance(head.trunk.norm, nn.GroupNorm)
    assert head.trunk(torch.randn(1, 245, 4, 5)).shape == (1, 32, 4, 5)


@pytest.mark.parametrize('others', [0, 1, 2])
def test_outputs_come_from_the_last_map(others):
    head = make_head()
    rpn_feat = torch.randn(2, 256, 6, 8)
    (cls_score,), (bbox_pred,) = head((*torch.randn(others, 2, 245, 6, 8), rpn_feat))
    assert cls_score.shape == (2, 25, 6, 8)
    assert bbox_pred.shape == (2, 100, 6, 8)
    torch.testing.assert_close(cls_score, head.rpn_cls(rpn_feat))
    torch.testing.assert_close(bbox_pred, head.rpn_reg(rpn_feat))


def test_two_outputs_an_anchor():
    """Background and object, for a softmax."""
    head = make_head(loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False))
    (cls_score,), (bbox_pred,) = head((torch.randn(1, 256, 2, 3),))
    assert cls_score.shape == (1, 50, 2, 3) and bbox_pred.shape == (1, 100, 2, 3)


@pytest.mark.parametrize('strides', [(16, 32), (8, 16, 32)])
def test_more_than_one_level(strides):
    with pytest.raises(ValueError, match=rf'the anchor generator has {len(strides)} levels.*use one stride'):
        make_head(strides)


def test_even_kernel():
    with pytest.raises(ValueError, match='LightRPNHead: kernel_size 4 must be odd'):
        LightRPNHead(245, kernel_size=4)


def test_other_trunk():
    with pytest.raises(ValueError, match='LightRPNHead: has no num_convs'):
        make_head(num_convs=2)


def test_release_golden(shared):
    weights = torch.load(shared / 'golden/release_layout_random.pth', weights_only=True)['state_dict']
    golden = torch.load(shared / 'golden/release_layout_expected.pth', weights_only=True)
    head = make_head().eval()
    names = {'rpn_conv.0.': 'trunk.0.conv.', 'rpn_conv.1.': 'trunk.0.bn.', 'rpn_conv.3.': 'trunk.1.conv.'}
    names.update({'rpn_conv.4.': 'trunk.1.bn.', 'rpn_cls.': 'rpn_cls.', 'rpn_reg.': 'rpn_reg.'})
    head.load_state_dict(
        {
            name + key[len(f'rpn_head.{old}') :]: value
            for key, value in weights.items()
            for old, name in names.items()
            if key.startswith(f'rpn_head.{old}')
        }
    )
    (cls_score,), (bbox_pred,) = head((head.trunk(golden['cem']),))
    torch.testing.assert_close(cls_score, golden['rpn_cls'], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bbox_pred, golden['rpn_reg'], rtol=1e-4, atol=1e-4)
