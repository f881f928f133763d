import torch
from mmdet.registry import MODELS

from mmthunder.models import SpatialAttention


def test_definition():
    """CEM map times sigmoid(BN(conv1x1(RPN map)))."""
    sam = SpatialAttention(in_channels=6, out_channels=10).eval()
    bn = sam.theta.bn
    torch.nn.init.uniform_(bn.running_mean)
    torch.nn.init.uniform_(bn.running_var, 0.5, 2)
    torch.nn.init.uniform_(bn.bias)
    feat, rpn_feat = torch.randn(2, 10, 5, 7), torch.randn(2, 6, 5, 7)
    conv = torch.einsum('oi,nihw->nohw', sam.theta.conv.weight[..., 0, 0], rpn_feat)
    expected = feat * torch.sigmoid(bn(conv))
    torch.testing.assert_close(sam(feat, rpn_feat), expected)


def test_default_sizes():
    sam = MODELS.build(dict(type='SpatialAttention'))
    assert sam(torch.randn(1, 245, 3, 4), torch.randn(1, 256, 3, 4)).shape == (1, 245, 3, 4)
    # 1x1 convolution without bias, and batch norm
    assert sum(p.numel() for p in sam.parameters()) == 256 * 245 + 2 * 245


def test_norm_cfg():
    assert isinstance(SpatialAttention(norm_cfg=dict(type='GN', num_groups=5)).theta.norm, torch.nn.GroupNorm)


def test_release_golden(shared):
    weights = torch.load(shared / 'golden/release_layout_random.pth', weights_only=True)['state_dict']
    golden = torch.load(shared / 'golden/release_layout_expected.pth', weights_only=True)
    weights = {key[len('rpn_head.') :]: value for key, value in weights.items() if key.startswith('rpn_head.')}
    # The trunk from the released layout: depthwise, BN, ReLU, pointwise, BN, ReLU.
    x = golden['cem']
    for conv, bn, groups in (('rpn_conv.0', 'rpn_conv.1', 245), ('rpn_conv.3', 'rpn_conv.4', 1)):
        weight = weights[f'{conv}.weight']
        x = torch.nn.functional.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=groups)
        x = torch.nn.functional.batch_norm(
            x, *(weights[f'{bn}.{name}'] for name in ('running_mean', 'running_var', 'weight', 'bias'))
        ).relu()
    sam = SpatialAttention().eval()
    sam.theta.conv.weight.data = weights['sam_convs.0.weight']
    sam.theta.bn.load_state_dict(
        {key[len('sam_convs.1.') :]: value for key, value in weights.items() if key.startswith('sam_convs.1.')}
    )
    torch.testing.assert_close(sam(golden['cem'], x), golden['sam'], rtol=1e-4, atol=1e-4)
