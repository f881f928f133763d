import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from mmthunder.models import SmallXception
from mmthunder.models.backbones.small_xception import XceptionBlock


def test_shapes():
    model = MODELS.build(dict(type='SmallXception', out_indices=(0, 1, 2))).eval()
    with torch.no_grad():
        outs = model(torch.randn(2, 3, 97, 64))
    assert [tuple(x.shape) for x in outs] == [(2, 104, 13, 8), (2, 208, 7, 4), (2, 416, 4, 2)]
    assert all(x.isfinite().all() and x.min() == 0 for x in outs)


def test_layout():
    """The stages have 4, 8 and 4 depthwise convolutions of 3x3, each before a 1x1 convolution."""
    model = SmallXception()
    for stage, count in zip(model.stages, (4, 8, 4)):
        depthwise = [m for m in stage.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
        assert [m.kernel_size for m in depthwise] == [(3, 3)] * count
        assert [m.stride for m in depthwise] == [(2, 2)] + [(1, 1)] * (count - 1)
        assert all(m.groups == m.in_channels == m.out_channels and m.bias is None for m in depthwise)


def test_block():
    """The residual sum of separable convolutions with the activation first."""
    block = XceptionBlock(6, 6).eval()
    x = torch.randn(2, 6, 5, 7)
    out = x
    for conv in (block.layers[1], block.layers[3]):
        depthwise, pointwise = conv.depthwise_conv, conv.pointwise_conv
        assert not depthwise.with_norm and not depthwise.with_activation and not pointwise.with_activation
        out = pointwise.norm(pointwise.conv(depthwise.conv(out.relu())))
    torch.testing.assert_close(block(x), x + out)


def test_block_that_changes_the_size():
    block = XceptionBlock(6, 10, stride=2, num_convs=3).eval()
    x = torch.randn(1, 6, 5, 8)
    assert block(x).shape == (1, 10, 3, 4)
    torch.testing.assert_close(block(x), block.shortcut(x) + block.layers(x))
    assert sum(isinstance(layer, nn.ReLU) for layer in block.layers) == 3


def test_arguments():
    model = SmallXception(
        stem_channels=4,
        stage_channels=(6, 8),
        stage_blocks=(1, 2),
        convs_per_block=1,
        in_channels=1,
        out_indices=(1,),
        norm_cfg=dict(type='GN', num_groups=2),
    ).eval()
    (out,) = model(torch.randn(1, 1, 32, 32))
    assert out.shape == (1, 8, 2, 2)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    out.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        (dict(stage_blocks=(2, 4)), r'stage_blocks \(2, 4\) must give at least one block to each of the 3 stages'),
        (dict(stage_blocks=(2, 0, 2)), 'at least one block'),
        (dict(out_indices=(3,)), r'out_indices \(3,\) must be among \(0, 1, 2\)'),
        (dict(out_indices=()), 'must be among'),
    ],
)
def test_invalid_arguments(kwargs, match):
    with pytest.raises(ValueError, match=match):
        SmallXception(**kwargs)
