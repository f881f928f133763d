import logging

import pytest
import torch
import torch.utils.checkpoint
import torchvision
from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from mmengine.logging import MMLogger
from mmengine.runner import CheckpointLoader
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from mmthunder.models import DetNet

STEM = ('conv1', 'bn1')
LAYERS = ('layer1', 'layer2', 'layer3', 'layer4', 'layer5')


def tiny(**kwargs) -> DetNet:
    """A narrow DetNet-59: 256/1024 channels become 32/128."""
    return DetNet(**{**dict(base_channels=8), **kwargs})


def norms(module: nn.Module) -> list:
    return [m for m in module.modules() if isinstance(m, _BatchNorm)]


def randomise(model: nn.Module) -> nn.Module:
    """Give batch norm scales and statistics of its own, and no block a dead branch."""
    for norm in norms(model):
        for value, low, high in (
            (norm.weight.data, 0.5, 1.5),
            (norm.bias.data, -0.2, 0.2),
            (norm.running_mean, -0.2, 0.2),
            (norm.running_var, 0.5, 1.5),
        ):
            value.uniform_(low, high)
    return model


@pytest.mark.parametrize('size', [(64, 64), (65, 96), (16, 1)])
@pytest.mark.parametrize('style', ['pytorch', 'caffe'])
@pytest.mark.parametrize('depth', [59, 110])
def test_shapes(depth, style, size):
    model = MODELS.build(dict(type='DetNet', depth=depth, base_channels=4, style=style))
    model.eval()
    with torch.no_grad():
        outs = model(torch.randn(2, 3, *size))
    maps = [tuple(-(-side // stride) for side in size) for stride in (4, 8, 16, 16, 16)]
    assert [tuple(x.shape) for x in outs] == [(2, c, *m) for c, m in zip((16, 32, 64, 64, 64), maps)]


def test_values_are_finite():
    model = tiny()
    model.init_weights()
    assert all(x.isfinite().all() and x.std() > 0 for x in model(torch.randn(2, 3, 65, 96)))


@pytest.mark.parametrize(('style', 'expected'), [('caffe', 4.85e9), ('pytorch', 5.00e9)])
def test_macs_and_shapes_of_detnet59(style, expected):
    """At 224 px with the 1000-way fc of the classifier; the paper states 4.8 G."""
    with torch.device('meta'), FlopCounterMode(display=False) as counter:
        outs = DetNet(59, style=style)(torch.empty(1, 3, 224, 224))
    assert [tuple(x.shape[1:]) for x in outs] == [(256, 56, 56), (512, 28, 28), *[(1024, 14, 14)] * 3]
    macs = counter.get_total_flops() / 2 + 1024 * 1000
    assert abs(macs / expected - 1) < 0.005


@pytest.mark.parametrize(('depth', 'blocks'), [(59, (3, 4, 6)), (110, (3, 4, 23))])
def test_parameters(depth, blocks):
    """Counted from Figure 2."""

    def conv(cin: int, cout: int, k: int) -> int:
        return cin * cout * k * k + 2 * cout

    def bottleneck(cin: int, mid: int) -> int:
        return conv(cin, mid, 1) + conv(mid, mid, 3) + conv(mid, 4 * mid, 1)

    expected, width = conv(3, 64, 7), 64
    for mid, repeats in zip((64, 128, 256, 256, 256), (*blocks, 3, 3)):
        expected += conv(width, 4 * mid, 1) + bottleneck(width, mid) + (repeats - 1) * bottleneck(4 * mid, mid)
        width = 4 * mid
    with torch.device('meta'):
        model = DetNet(depth)
    assert sum(p.numel() for p in model.parameters()) == expected
    # The name: a convolution at the start, three a block, and the fc of the classifier.
    assert 1 + 3 * sum(len(getattr(model, name)) for name in LAYERS) + 1 == depth


@pytest.mark.parametrize(('depth', 'resnet_depth'), [(59, 50), (110, 101)])
@pytest.mark.parametrize('style', ['pytorch', 'caffe'])
def test_stages_to_4_are_resnets(depth, resnet_depth, style):
    resnet = randomise(ResNet(resnet_depth, base_channels=8, style=style))
    detnet = tiny(depth=depth, style=style)
    shared = {key: value for key, value in resnet.state_dict().items() if not key.startswith(('layer4', 'layer5'))}
    missing, unexpected = detnet.load_state_dict(shared, strict=False)
    assert not unexpected and all(key.startswith(('layer4', 'layer5')) for key in missing)
    x = torch.randn(1, 3, 64, 64)
    for model in (resnet, detnet):
        model.eval()
    for ours, theirs in zip(detnet(x)[:3], resnet(x)[:3]):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize('name', ['layer4', 'layer5'])
def test_dilated_stage_by_definition(name):
    """B, A, A: 1x1, 3x3 of dilation 2, 1x1, with a projection on the first shortcut alone."""
    stage = randomise(getattr(tiny(), name)).eval()
    assert len(stage) == 3
    x = torch.randn(2, 128, 5, 7)
    expected = x
    for i, block in enumerate(stage):
        out = block.bn1(nn.functional.conv2d(expected, block.conv1.weight)).relu()
        out = block.bn2(nn.functional.conv2d(out, block.conv2.weight, padding=2, dilation=2)).relu()
        out = block.bn3(nn.functional.conv2d(out, block.conv3.weight))
        shortcut = expected
        if i == 0:
            conv, norm = block.downsample
            assert conv.weight.shape == (128, 128, 1, 1) and conv.bias is None
            shortcut = norm(nn.functional.conv2d(expected, conv.weight))
        else:
            assert block.downsample is None
        expected = (out + shortcut).relu()
    torch.testing.assert_close(stage(x), expected)


def test_style_moves_the_stride():
    for style, strides in (('caffe', (2, 1)), ('pytorch', (1, 2))):
        model = tiny(style=style)
        for layer in (model.layer2, model.layer3):
            assert (layer[0].conv1.stride[0], layer[0].conv2.stride[0]) == strides
        assert all(
            conv.stride == (1, 1)
            for layer in (model.layer4, model.layer5)
            for conv in layer.modules()
            if isinstance(conv, nn.Conv2d)
        )


def test_no_projection():
    """A fresh block is its shortcut: with A blocks alone stage 6 gives stage 5's map, with a B block it does not."""
    x = torch.randn(1, 3, 64, 64)
    for projection in (True, False):
        model = tiny(stage6_projection=projection)
        model.init_weights()
        model.eval()
        stage5, stage6 = model(x)[3:]
        assert torch.equal(stage5, stage6) != projection
        assert (model.layer5[0].downsample is not None) == projection
        assert model.layer4[0].downsample is not None


def test_stage_5_only():
    model = tiny(num_stages=4)
    assert [x.shape[1:] for x in model(torch.randn(1, 3, 64, 64))] == [
        (32, 16, 16),
        (64, 8, 8),
        (128, 4, 4),
        (128, 4, 4),
    ]
    assert not hasattr(model, 'layer5')


@pytest.mark.parametrize('out_indices', [(0,), (4,), (2, 3, 4), [1, 3]])
def test_out_indices(out_indices):
    model = tiny()
    model.eval()
    x = torch.randn(1, 3, 64, 64)
    every = model(x)
    model.out_indices = tiny(out_indices=out_indices).out_indices
    outs = model(x)
    assert len(outs) == len(out_indices)
    assert all(torch.equal(out, every[i]) for out, i in zip(outs, out_indices))


def test_in_channels():
    assert tiny(in_channels=1)(torch.randn(1, 1, 64, 64))[-1].shape == (1, 128, 4, 4)


@pytest.mark.parametrize('norm_eval', [False, True])
@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 3, 4, 5])
def test_frozen_stages(frozen_stages, norm_eval):
    model = tiny(frozen_stages=frozen_stages, norm_eval=norm_eval)
    parts = [STEM, *((name,) for name in LAYERS)]
    for i, names in enumerate(parts):  # as made, too, which is what the optimiser sees
        assert all(p.requires_grad == (i > frozen_stages) for name in names for p in getattr(model, name).parameters())
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    outs = model(torch.randn(2, 3, 64, 64))
    if frozen_stages < 5:
        sum(x.sum() for x in outs).backward()
    for i, names in enumerate(parts):
        frozen = i <= frozen_stages
        for module in (getattr(model, name) for name in names):
            assert all(p.requires_grad != frozen and (p.grad is None) == frozen for p in module.parameters())
            assert all(m.training == (not frozen and not norm_eval) for m in norms(module))
        changed = any(
            not torch.equal(value, before[key])
            for key, value in model.state_dict().items()
            if key.split('.')[0] in names
        )
        assert changed == (not frozen and not norm_eval)


def test_frozen_norm():
    model = tiny(norm_cfg=dict(type='BN', requires_grad=False))
    assert not any(p.requires_grad for norm in norms(model) for p in norm.parameters())
    # A block whose last scale stayed 0 would never learn.
    model.init_weights()
    assert all((norm.weight == 1).all() for norm in norms(model))


def test_norm_cfg():
    model = tiny(norm_cfg=dict(type='GN', num_groups=4))
    model.init_weights()
    assert not norms(model) and isinstance(model.layer5[0].downsample[1], nn.GroupNorm)
    assert model(torch.randn(1, 3, 64, 64))[-1].isfinite().all()


@pytest.mark.filterwarnings('ignore:torch.utils.checkpoint')
def test_with_cp_changes_no_result(monkeypatch):
    calls = []
    checkpoint = torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(torch.utils.checkpoint, 'checkpoint', lambda *a, **k: calls.append(1) or checkpoint(*a, **k))
    plain, saving = tiny(), tiny(with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 64, 64)
    results = []
    for model in (plain, saving):
        model.train()
        outs = model(x)
        sum((out**2).sum() for out in outs).backward()
        results.append((outs, [p.grad for p in model.parameters()]))
    assert len(calls) == 19  # one a block, of the second model alone
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        (dict(depth=50), r'unknown depth 50; use one of \[59, 110\]'),
        (dict(num_stages=3), 'num_stages 3 must be 5, or 4'),
        (dict(num_stages=6), 'num_stages 6 must be 5, or 4'),
        (dict(num_stages=4, stage6_projection=False), 'stage6_projection=False needs num_stages=5'),
        (dict(out_indices=()), r'out_indices \(\) must be among \(0, 1, 2, 3, 4\)'),
        (dict(out_indices=(1, 5)), r'out_indices \(1, 5\) must be among'),
        (dict(out_indices=(-1,)), 'must be among'),
        (dict(num_stages=4, out_indices=(4,)), r'out_indices \(4,\) must be among \(0, 1, 2, 3\)'),
        (dict(frozen_stages=6), 'frozen_stages 6 must be from -1 to 5'),
        (dict(frozen_stages=-2), 'frozen_stages -2'),
        (dict(style='tensorflow'), "unknown style 'tensorflow'"),
    ],
)
def test_invalid_arguments(kwargs, match):
    with pytest.raises(ValueError, match=match):
        tiny(**kwargs)


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def log(monkeypatch):
    """Lines that initialising the backbone of a detector logs, without mmengine's one for each parameter."""
    handler, logger = Records(), MMLogger.get_current_instance()
    monkeypatch.setattr(DetNet, '_dump_init_info', lambda self: None)
    level = logger.level
    logger.setLevel('INFO')
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)
    logger.setLevel(level)


def pretrained(path, **kwargs) -> dict:
    return dict(type='Pretrained', checkpoint=str(path), **kwargs)


def filled_stages(model: nn.Module, state: dict) -> list:
    """The paper's numbers of the stages whose tensors are all the state dict's."""
    stages = []
    for stage, names in enumerate([STEM, *((name,) for name in LAYERS)], 1):
        own = {key: value for key, value in model.state_dict().items() if key.split('.')[0] in names}
        if all(key in state and torch.equal(value, state[key]) for key, value in own.items()):
            stages.append(stage)
    return stages


def test_torchvision_resnet50_fills_stages_1_to_4(tmp_path, log):
    resnet = randomise(torchvision.models.resnet50())
    torch.save(resnet.state_dict(), tmp_path / 'resnet50.pth')
    model = DetNet(init_cfg=pretrained(tmp_path / 'resnet50.pth'))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.init_weights()
    assert filled_stages(model, resnet.state_dict()) == [1, 2, 3, 4]
    ours = [line for line in log if 'stages filled' in line]
    assert ours == [
        f'DetNet-59 from {tmp_path}/resnet50.pth: stages filled: 1, 2, 3, 4; stages that stay random: 5 '
        '(layer4.0.conv1.weight has shape (512, 1024, 1, 1) in the file and (256, 1024, 1, 1) here), 6 '
        '(layer5.0.conv1.weight is missing); unused in the file: fc, layer4'
    ]
    assert '\n' not in ours[0] and not any('match' in line for line in log)
    # What stays random is drawn as without a file: Kaiming, and blocks that start as their shortcuts.
    for name in ('layer4', 'layer5'):
        for i, block in enumerate(getattr(model, name)):
            weight = block.conv2.weight
            assert not torch.equal(weight, before[f'{name}.{i}.conv2.weight'])
            torch.testing.assert_close(weight.std().item(), (2 / (9 * 256)) ** 0.5, rtol=0.02, atol=0)
            assert (block.bn3.weight == 0).all() and (block.bn1.weight == 1).all()
    # Frozen statistics of 0 and 1 therefore keep the scale of stage 4's map.
    for module in (model, resnet):
        module.eval()
    x = torch.randn(1, 3, 64, 64)
    stage4, stage5, stage6 = (out.std() for out in model(x)[2:])
    assert 0.5 < stage5 / stage4 < 2 and 0.5 < stage6 / stage4 < 2
    theirs = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(x))))
    for layer, out in zip((resnet.layer1, resnet.layer2, resnet.layer3), model(x)):
        theirs = layer(theirs)
        torch.testing.assert_close(out, theirs, rtol=1e-5, atol=1e-5)


def test_pretrained_name_is_passed_on(monkeypatch):
    names = []
    state = randomise(ResNet(50, base_channels=8)).state_dict()
    monkeypatch.setattr(CheckpointLoader, 'load_checkpoint', lambda name, *a, **k: names.append(name) or state)
    model = tiny(init_cfg=pretrained('torchvision://resnet50'))
    model.init_weights()
    assert names == ['torchvision://resnet50']
    assert filled_stages(model, state) == [1, 2, 3, 4]


def test_pretrained_detnet_fills_everything(tmp_path, log):
    state = randomise(tiny()).state_dict()
    torch.save(dict(state_dict={f'module.{key}': value for key, value in state.items()}), tmp_path / 'a.pth')
    model = tiny(init_cfg=pretrained(tmp_path / 'a.pth'))
    model.init_weights()
    assert filled_stages(model, state) == [1, 2, 3, 4, 5, 6]
    assert 'stages that stay random: none; unused in the file: nothing' in log[-1]


def test_pretrained_part_of_a_detector(tmp_path):
    state = randomise(tiny()).state_dict()
    torch.save({f'backbone.{key}': value for key, value in state.items()}, tmp_path / 'a.pth')
    model = tiny(init_cfg=pretrained(tmp_path / 'a.pth', prefix='backbone.'))
    model.init_weights()
    assert filled_stages(model, state) == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match='fills no stage of DetNet-59.*conv1.weight is missing.*init_cfg.prefix'):
        tiny(init_cfg=pretrained(tmp_path / 'a.pth')).init_weights()


def test_pretrained_fills_whole_stages_only(tmp_path, log):
    """ResNet-50's stage 4 has 6 of the 23 blocks that DetNet-110's has."""
    state = randomise(ResNet(50, base_channels=8)).state_dict()
    torch.save(state, tmp_path / 'a.pth')
    model = tiny(depth=110, init_cfg=pretrained(tmp_path / 'a.pth'))
    model.init_weights()
    assert filled_stages(model, state) == [1, 2, 3]
    assert not torch.equal(model.layer3[0].conv1.weight, state['layer3.0.conv1.weight'])
    assert '4 (layer3.6.conv1.weight is missing)' in log[-1]


def test_pretrained_without_batch_counters(tmp_path):
    """Files of before torch 0.4.1."""
    state = randomise(tiny()).state_dict()
    torch.save({k: v for k, v in state.items() if not k.endswith('num_batches_tracked')}, tmp_path / 'a.pth')
    model = tiny(init_cfg=pretrained(tmp_path / 'a.pth'))
    model.init_weights()
    assert filled_stages(model, state) == [1, 2, 3, 4, 5, 6]


def test_pretrained_of_other_widths(tmp_path):
    torch.save(ResNet(50, base_channels=16).state_dict(), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'conv1.weight has shape \(16, 3, 7, 7\) in the file and \(8, 3, 7, 7\)'):
        tiny(init_cfg=pretrained(tmp_path / 'a.pth')).init_weights()


def test_public_file_has_to_be_converted(tmp_path):
    state = {key.replace('layer4.0.downsample', 'layer4.0.extra_conv'): v for key, v in tiny().state_dict().items()}
    torch.save(state, tmp_path / 'detnet59.pth')
    with pytest.raises(ValueError, match=f'tools/model_converters/convert.py {tmp_path}/detnet59.pth NEW_FILE'):
        tiny(init_cfg=pretrained(tmp_path / 'detnet59.pth')).init_weights()


def test_pretrained_freezes_what_it_filled(tmp_path):
    state = randomise(tiny()).state_dict()
    torch.save(state, tmp_path / 'a.pth')
    model = tiny(frozen_stages=1, init_cfg=pretrained(tmp_path / 'a.pth'))
    model.init_weights()
    model.train()
    assert torch.equal(model.layer1[0].conv1.weight, state['layer1.0.conv1.weight'])
    assert not any(p.requires_grad for p in model.layer1.parameters())
