import pytest
import torch
from mmdet.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from mmthunder.models import SNet
from mmthunder.models.backbones import snet as snet_module
from mmthunder.models.backbones.snet import SNetBlock

# All three, in order of depth: stem, stages, Conv5.
WIDTHS = {'49': (24, (60, 120, 240), 512), '146': (24, (132, 264, 528), 0), '535': (48, (248, 496, 992), 0)}


def tiny(**kwargs) -> SNet:
    """A narrow SNet49 that runs in milliseconds."""
    return SNet(
        **{
            **dict(arch='49', stem_channels=4, stage_channels=(8, 12, 16), stage_repeats=(2, 2, 1), conv5_channels=10),
            **kwargs,
        }
    )


def halve(size: tuple, times: int) -> tuple:
    """Size after convolutions of stride 2, which round up."""
    return tuple(-(-side // 2**times) for side in size)


@pytest.mark.parametrize('size', [(320, 320), (321, 224), (320, 1), (1, 97), (1, 1)])
@pytest.mark.parametrize('arch', ['49', '146', '535'])
def test_shapes(arch, size):
    model = MODELS.build(dict(type='SNet', arch=arch, out_indices=(0, 1, 2))).eval()
    with torch.no_grad():
        outs = model(torch.randn(1, 3, *size))
    _, stages, conv5 = WIDTHS[arch]
    widths = stages[0], stages[1], conv5 or stages[2]
    assert [tuple(x.shape) for x in outs] == [(1, c, *halve(size, 3 + i)) for i, c in enumerate(widths)]
    assert all(x.isfinite().all() for x in outs)


def test_strides_16_and_32_by_default():
    c4, c5 = tiny().eval()(torch.randn(2, 3, 64, 96))
    assert c4.shape == (2, 12, 4, 6)
    assert c5.shape == (2, 10, 2, 3)


@pytest.mark.parametrize(('arch', 'count'), [('49', 362584), ('146', 1045512), ('535', 3547920)])
def test_parameters(arch, count):
    """Counted from Table 1 and in the model; SNet146's is that of the authors' weights."""
    stem, stages, conv5 = WIDTHS[arch]

    def conv(cin: int, cout: int, k: int) -> int:
        return cin * cout * k * k + 2 * cout

    expected, width = conv(3, stem, 3), stem
    for channels, repeats in zip(stages, (4, 8, 4)):
        mid = channels // 2
        expected += conv(width, mid, 1) + conv(1, mid, 5) + conv(mid, channels - width, 1)
        expected += conv(1, width, 5) + conv(width, width, 1)
        expected += (repeats - 1) * (conv(mid, mid, 1) + conv(1, mid, 5) + conv(mid, mid, 1))
        width = channels
    expected += conv(width, conv5, 1) if conv5 else 0
    assert expected == count
    assert sum(p.numel() for p in SNet(arch).parameters()) == count


def test_number_as_arch():
    """--cfg-options turns 146 into a number."""
    assert SNet(arch=146).conv5 is None


def test_widths_repeats_and_conv5():
    model = SNet('146', stem_channels=6, stage_channels=(8, 10, 14), stage_repeats=(1, 3, 2), conv5_channels=18)
    assert model.stem[0].out_channels == 6
    assert [len(stage) for stage in model.stages] == [1, 3, 2]
    assert [x.shape[1] for x in model.eval()(torch.randn(1, 3, 64, 64))] == [10, 18]
    assert SNet('49', conv5_channels=0).conv5 is None
    assert SNet('49', conv5_channels=0).eval()(torch.randn(1, 3, 32, 32))[-1].shape[1] == 240
    assert SNet('49', stem_channels=6).conv5.out_channels == 512


@pytest.mark.parametrize('kernel_size', [3, 5, 7])
def test_kernel_size(kernel_size):
    model = tiny(kernel_size=kernel_size).eval()
    depthwise = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1]
    assert len(depthwise) == 2 + 2 + 1 + 3  # one a block, one more in each block of stride 2
    assert all(m.kernel_size == (kernel_size, kernel_size) for m in depthwise)
    assert model(torch.randn(1, 3, 65, 65))[0].shape[-2:] == (5, 5)


def test_depthwise_repeats():
    """Two 3x3 depthwise convolutions in a row see as far as one 5x5."""
    block = SNetBlock(6, 20, kernel_size=3, stride=2, depthwise_repeats=2)
    for branch, channels, first in ((block.branch, 10, 1), (block.branch_left, 6, 0)):
        convs = [(conv.kernel_size, conv.stride, conv.groups, conv.with_activation) for conv in branch]
        depthwise = [((3, 3), (2, 2), channels, False), ((3, 3), (1, 1), channels, False)]
        assert convs[first : first + 2] == depthwise
        assert all(kernel == (1, 1) for kernel, *_ in convs[:first] + convs[first + 2 :])
    assert block.eval()(torch.randn(1, 6, 9, 7)).shape == (1, 20, 5, 4)
    model = tiny(kernel_size=3, depthwise_repeats=2)
    assert sum(isinstance(m, torch.nn.Conv2d) and m.groups > 1 for m in model.modules()) == 2 * (2 + 2 + 1 + 3)
    x = torch.randn(1, 3, 64, 96)
    assert [out.shape for out in model.eval()(x)] == [out.shape for out in tiny().eval()(x)]


def test_in_channels():
    assert tiny(in_channels=1).eval()(torch.randn(1, 1, 64, 64))[0].shape == (1, 12, 4, 4)


def test_block_of_stride_1_shuffles_first():
    block = SNetBlock(8, 8).eval()
    x = torch.randn(2, 8, 5, 5)
    out = block(x)
    assert torch.equal(out[:, :4], x[:, ::2])
    torch.testing.assert_close(out[:, 4:], block.branch(x[:, 1::2]))


def test_block_of_stride_2_keeps_the_width_on_the_left():
    block = SNetBlock(6, 20, stride=2).eval()
    x = torch.randn(2, 6, 5, 7)
    out = block(x)
    assert out.shape == (2, 20, 3, 4)
    torch.testing.assert_close(out[:, :6], block.branch_left(x))
    torch.testing.assert_close(out[:, 6:], block.branch(x))


def test_interleaving_shuffle():
    """Channels 0, 4, 1, 5 pass by and 2, 6, 3, 7 are convolved; the parameters are those of the other shuffle."""
    block = SNetBlock(8, 8, shuffle='interleave').eval()
    x = torch.randn(2, 8, 5, 5)
    out = block(x)
    assert torch.equal(out[:, :4], x[:, [0, 4, 1, 5]])
    torch.testing.assert_close(out[:, 4:], block.branch(x[:, [2, 6, 3, 7]]))

    models = [tiny(shuffle=shuffle).eval() for shuffle in ('even_odd', 'interleave')]
    models[1].load_state_dict(models[0].state_dict())
    outs = [model(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64))[-1] for model in models]
    assert (outs[0] - outs[1]).abs().max() > 0.01


def test_channels_last_changes_no_result():
    models = [tiny(channels_last=value).eval() for value in (True, False)]
    models[1].load_state_dict(models[0].state_dict())
    x = torch.randn(2, 3, 64, 64)
    outs = [model(x)[0] for model in models]
    assert [out.is_contiguous(memory_format=torch.channels_last) for out in outs] == [True, False]
    torch.testing.assert_close(*outs)


def test_no_activation_after_depthwise():
    block = SNetBlock(6, 20, stride=2)
    assert [conv.with_activation for conv in block.branch] == [True, False, True]
    assert [conv.with_activation for conv in block.branch_left] == [False, True]


def test_norm_cfg():
    model = tiny(norm_cfg=dict(type='GN', num_groups=2))
    assert not any(isinstance(m, _BatchNorm) for m in model.modules())
    assert any(isinstance(m, torch.nn.GroupNorm) for m in model.modules())


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 2, 3])
def test_frozen_stages(frozen_stages):
    model = tiny(frozen_stages=frozen_stages)
    model.train()
    parts = [[model.stem], [model.stages[0]], [model.stages[1]], [model.stages[2], model.conv5]]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    outs = model(torch.randn(2, 3, 64, 64))
    if frozen_stages < 3:
        sum(x.sum() for x in outs).backward()
    for i, part in enumerate(parts):
        frozen = i <= frozen_stages
        for module in part:
            assert all(p.requires_grad != frozen and (p.grad is None) == frozen for p in module.parameters())
            norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
            assert norms and all(m.training != frozen for m in norms)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert any(key.startswith('stem') for key in changed) == (frozen_stages < 0)
    assert any(key.startswith('conv5') for key in changed) == (frozen_stages < 3)


def test_norm_eval():
    model = tiny(norm_eval=True)
    model.train()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert model.training and norms and not any(m.training for m in norms)
    assert all(p.requires_grad for p in model.parameters())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_with_cp_changes_no_result(monkeypatch):
    calls = []
    checkpoint = snet_module.cp.checkpoint
    monkeypatch.setattr(snet_module.cp, 'checkpoint', lambda *a, **k: calls.append(1) or checkpoint(*a, **k))
    plain, saving = tiny(), tiny(with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    results = []
    for model in (plain, saving):
        outs = model.train()(x)
        sum((out**2).sum() for out in outs).backward()
        results.append((outs, [p.grad for p in model.parameters()]))
    assert len(calls) == 5  # one a block, of the second model alone
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        (dict(arch='50'), r"unknown arch '50'; use one of \['49', '146', '535'\]"),
        (
            dict(stage_channels=(8, 16)),
            r'stage_repeats \(2, 2, 1\) must give at least one block to each of the 2 stages',
        ),
        (dict(stage_repeats=(4, 8)), r'stage_repeats \(4, 8\) must give at least one block'),
        (dict(stage_repeats=(4, 0, 4)), 'at least one block'),
        (dict(stage_channels=(8, 13, 16)), r'stage_channels \(8, 13, 16\) must be even'),
        (dict(stage_channels=(8, 8, 16)), r'\(4, 8, 8, 16\) must grow'),
        (dict(stage_channels=(8, 16, 12)), 'must grow'),
        (dict(kernel_size=4), 'kernel_size 4 must be odd'),
        (dict(depthwise_repeats=0), 'depthwise_repeats 0 must be at least 1'),
        (dict(shuffle='odd'), r"unknown shuffle 'odd'; use one of \['even_odd', 'interleave'\]"),
        (dict(out_indices=()), r'out_indices \(\) must be among \(0, 1, 2\)'),
        (dict(out_indices=(1, 3)), r'out_indices \(1, 3\) must be among'),
        (dict(out_indices=(-1,)), 'must be among'),
        (dict(frozen_stages=4), 'frozen_stages 4 must be from -1 to 3'),
        (dict(frozen_stages=-2), 'frozen_stages -2'),
    ],
)
def test_invalid_arguments(kwargs, match):
    with pytest.raises(ValueError, match=match):
        tiny(**kwargs)
