import os
import re
import subprocess
import sys
from argparse import Namespace

import numpy as np
import pytest
import torch
import torchvision
from mmdet.models.backbones import ResNet
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from mmthunder.engine import CheckpointError
from mmthunder.models import DetNet

DETNET, RESNET = 'DetNet-59 of ruoqianguo/DetNet_pytorch', 'ResNet-50 of torchvision'


class PublicBlock(nn.Module):
    """Bottleneck with the parameter names of detnet59.pth, whose strides are in the 3x3 convolution."""

    def __init__(self, cin: int, mid: int, stride: int, dilation: int, shortcut: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(cin, mid, 1, bias=False), nn.BatchNorm2d(mid)
        self.conv2 = nn.Conv2d(mid, mid, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv3, self.bn3 = nn.Conv2d(mid, 4 * mid, 1, bias=False), nn.BatchNorm2d(4 * mid)
        self.shortcut = shortcut
        if shortcut:
            projection = nn.Sequential(nn.Conv2d(cin, 4 * mid, 1, stride, bias=False), nn.BatchNorm2d(4 * mid))
            self.add_module(shortcut, projection)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        return (self.bn3(self.conv3(out)) + (getattr(self, self.shortcut)(x) if self.shortcut else x)).relu()


class PublicDetNet59(nn.Module):
    """Network that the keys of detnet59.pth describe."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        width = 64
        stages = ((3, 64, 1, 1), (4, 128, 2, 1), (6, 256, 2, 1), (3, 256, 1, 2), (3, 256, 1, 2))
        for i, (count, mid, stride, dilation) in enumerate(stages, 1):
            blocks = [PublicBlock(width, mid, stride, dilation, 'extra_conv' if i > 3 else 'downsample')]
            width = 4 * mid
            blocks += [PublicBlock(width, mid, 1, dilation, '') for _ in range(count - 1)]
            self.add_module(f'layer{i}', nn.Sequential(*blocks))
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x: Tensor) -> list:
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        outs = []
        for i in range(1, 6):
            x = getattr(self, f'layer{i}')(x)
            outs.append(x)
        return outs


def randomise(model: nn.Module) -> nn.Module:
    """Give batch norm scales and statistics of its own, and keep the maps at a scale near 1."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.4, 1.0)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(1, 2)
            module.num_batches_tracked.fill_(7)
    return model.eval()


@pytest.fixture(scope='module')
def public() -> PublicDetNet59:
    torch.manual_seed(0)
    return randomise(PublicDetNet59())


@pytest.fixture(scope='module')
def resnet50() -> nn.Module:
    torch.manual_seed(0)
    return randomise(torchvision.models.resnet50())


def refused(result: tuple) -> str:
    """Check that nothing was written and one line says why; return it."""
    code, _, err, dst = result
    assert code == 1 and err.startswith('error: ') and err.count('\n') == 1
    assert not dst.exists()
    return err


def compare(model: nn.Module, expected: list) -> None:
    model.eval()
    with torch.no_grad():
        outs = model(torch.linspace(-2, 2, 3 * 64 * 80).sin().reshape(1, 3, 64, 80))
    assert len(outs) >= len(expected)
    for out, wanted in zip(outs, expected):
        assert 0.05 < wanted.std() < 20
        assert (out - wanted).abs().max() <= 1e-5


def outputs(model: nn.Module) -> list:
    with torch.no_grad():
        return model(torch.linspace(-2, 2, 3 * 64 * 80).sin().reshape(1, 3, 64, 80))


@pytest.mark.parametrize('wrap', ['bare', 'state_dict', 'module', 'old'])
def test_detnet59_computes_the_same(run, public, wrap):
    state = public.state_dict()
    assert {'layer4.0.extra_conv.0.weight', 'layer5.0.extra_conv.1.running_var', 'fc.bias'} <= set(state)
    kwargs = {}
    if wrap == 'state_dict':
        state = dict(state_dict=state, epoch=3)
    elif wrap == 'module':
        state = dict(state_dict={f'module.{key}': value for key, value in state.items()})
    elif wrap == 'old':  # of before torch 0.4.1: no counters, and not a zip file
        state = {key: value for key, value in state.items() if not key.endswith('num_batches_tracked')}
        kwargs = dict(_use_new_zipfile_serialization=False)
    code, out, err, dst = run(state, **kwargs)
    assert (code, err) == (0, '')
    assert DETNET in out and 'dropped: fc.weight, fc.bias' in out
    converted = torch.load(dst, weights_only=True)
    assert DETNET in converted['meta']['converted_from']
    model = DetNet(59, style='pytorch')
    model.load_state_dict(converted['state_dict'], strict=True)
    assert model.bn1.num_batches_tracked == (0 if wrap == 'old' else 7)
    compare(model, outputs(public))


def test_converted_detnet59_as_init_cfg(run, public):
    *_, dst = run(public.state_dict())
    model = DetNet(59, init_cfg=dict(type='Pretrained', checkpoint=str(dst)))
    model.init_weights()
    compare(model, outputs(public))


def test_resnet50_computes_the_same(run, resnet50):
    code, out, err, dst = run(resnet50.state_dict())
    assert (code, err) == (0, '')
    assert RESNET in out
    nodes = [f'layer{i}' for i in range(1, 5)]
    extractor = create_feature_extractor(resnet50, nodes)
    expected = list(outputs(extractor).values())
    model = ResNet(50)
    model.load_state_dict(torch.load(dst, weights_only=True)['state_dict'], strict=True)
    compare(model, expected)
    detnet = DetNet(59, init_cfg=dict(type='Pretrained', checkpoint=str(dst)))
    detnet.init_weights()
    compare(detnet, expected[:3])


def test_resnet101(run):
    with torch.device('meta'):
        state = torchvision.models.resnet101().state_dict()
    # One value, expanded: 40 million numbers need no room in the test.
    state = {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in state.items()}
    code, out, *_ = run(state)
    assert code == 0 and 'ResNet-101 of torchvision' in out


def test_result_holds_own_tensors_alone(run, public):
    """A view in a file brings the whole storage that it is of."""
    state = {**public.state_dict(), 'conv1.weight': torch.zeros(1000, 64, 3, 7, 7)[3]}
    *_, dst = run(state)
    weight = torch.load(dst, weights_only=True)['state_dict']['conv1.weight']
    assert weight.untyped_storage().nbytes() == 4 * 64 * 3 * 7 * 7


def test_missing_left_over_and_shapes_are_listed(run, public):
    state = public.state_dict()
    del state['layer2.1.bn1.bias'], state['layer5.2.conv3.weight']
    state['layer6.0.conv1.weight'] = torch.zeros(1)
    state['fc2.weight'] = torch.zeros(1)
    state['layer1.0.conv1.weight'] = torch.zeros(64, 32, 1, 1)
    error = refused(run(state))
    assert f'has the layout {DETNET}' in error
    assert '2 missing: layer2.1.bn1.bias, layer5.2.conv3.weight; ' in error
    assert '2 left over: layer6.0.conv1.weight, fc2.weight; ' in error
    assert '1 of another shape: layer1.0.conv1.weight (64, 32, 1, 1) instead of (64, 64, 1, 1)' in error


def test_two_keys_for_one(run, public):
    state = public.state_dict()
    state['layer4.0.downsample.0.weight'] = state['layer4.0.extra_conv.0.weight']
    assert 'two keys become layer4.0.downsample.0.weight' in refused(run(state))


@pytest.mark.parametrize(
    'content',
    [
        dict(a=torch.zeros(1), b=torch.zeros(2)),
        {},
        dict(state_dict={}),
        dict(state_dict=dict(a=1)),
        dict(model=dict(a=torch.zeros(1))),
        [torch.zeros(1)],
        torch.zeros(1),
    ],
)
def test_unknown_file(run, content):
    error = refused(run(content))
    assert DETNET in error and RESNET in error


def test_file_of_this_project(run):
    """Is no public layout; nothing is left to convert."""
    assert 'unknown layout' in refused(run(dict(state_dict=DetNet(59, base_channels=4).state_dict())))


@pytest.mark.parametrize(
    ('content', 'match'),
    [
        (None, 'No such file'),
        (b'', 'no file of PyTorch'),
        (b'plain text', 'no file of PyTorch'),
        (b'PK\3\4 cut short', 'no file of PyTorch'),
    ],
)
def test_no_file_of_torch(tool, tmp_path, capsys, content, match):
    if content is not None:
        (tmp_path / 'src').write_bytes(content)
    code = tool.main([str(tmp_path / 'src'), str(tmp_path / 'dst')])
    assert match in refused((code, *capsys.readouterr(), tmp_path / 'dst'))


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (self.path, 'w')


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('where', ['state_dict', 'meta'])
def test_malicious_pickle_runs_nothing(run, public, tmp_path, zipped, where):
    mark = tmp_path / 'mark'
    content = dict(state_dict=dict(public.state_dict()), meta={})
    content[where]['x'] = Malicious(str(mark))
    result = run(content, _use_new_zipfile_serialization=zipped)
    assert not mark.exists()
    if where == 'state_dict':
        assert 'holds no state dict' in refused(result)
    else:
        code, out, err, dst = result
        assert (code, err) == (0, '') and re.search(r'left out, whose loading could run code: \w+\.open\n', out)
        assert set(torch.load(dst, weights_only=True)) == {'meta', 'state_dict'}
        assert not mark.exists()
    # The same file does run code where it is loaded without care.
    torch.load(tmp_path / 'src.pth', weights_only=False)[where]['x'].close()
    assert mark.exists()


class MaliciousCommand(Malicious):
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.system, (f'touch {self.path}',)


@pytest.mark.parametrize('zipped', [True, False])
def test_malicious_command_is_refused(run, public, tmp_path, zipped):
    mark = tmp_path / 'mark'
    content = dict(state_dict=public.state_dict(), meta=MaliciousCommand(str(mark)))
    assert 'can run code' in refused(run(content, _use_new_zipfile_serialization=zipped))
    assert not mark.exists()
    torch.load(tmp_path / 'src.pth', weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize('zipped', [True, False])
def test_other_objects_are_left_out(run, public, zipped):
    """What training frameworks put beside the weights; none of it comes into the result."""
    parameter = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    parameter.sum().backward()
    optimizer.step()
    content = dict(
        state_dict=public.state_dict(),
        optimizer=optimizer.state_dict(),
        meta=dict(time='today', seed=np.int64(3), scores=np.arange(3.0), classes=('a', 'b'), args=Namespace(lr=0.1)),
        message_hub=dict(log_scalars=dict(loss=HistoryBuffer([1.0, 2.0], [1, 1]))),
    )
    code, out, err, dst = run(content, _use_new_zipfile_serialization=zipped)
    assert (code, err) == (0, '')
    (left_out,) = re.findall('left out, whose loading could run code: (.*)\n', out)
    assert {'argparse.Namespace', 'mmengine.logging.history_buffer.HistoryBuffer'} <= set(left_out.split(', '))
    assert not [name for name in left_out.split(', ') if name.startswith(('torch', 'collections'))]
    converted = torch.load(dst, weights_only=True)
    assert set(converted) == {'meta', 'state_dict'} and set(converted['meta']) == {'converted_from'}
    assert all(isinstance(value, Tensor) for value in converted['state_dict'].values())


def test_refusal_leaves_dst(tool, tmp_path, public):
    good, bad, dst = tmp_path / 'good.pth', tmp_path / 'bad.pth', tmp_path / 'dst.pth'
    torch.save(public.state_dict(), good)
    torch.save({}, bad)
    dst.write_text('precious')
    assert tool.main([str(bad), str(dst)]) == 1
    assert dst.read_text() == 'precious'
    assert tool.main([str(good), str(dst)]) == 0  # and a success replaces it
    assert torch.load(dst, weights_only=True)['state_dict']
    assert sorted(os.listdir(tmp_path)) == ['bad.pth', 'dst.pth', 'good.pth']


@pytest.mark.parametrize(('module', 'name'), [(os, 'replace'), (os, 'fsync')])
def test_failing_write_leaves_dst(tool, tmp_path, monkeypatch, module, name):

    def fail(*args) -> None:
        raise OSError(28, 'No space left on device')

    (tmp_path / 'dst.pth').write_text('precious')
    monkeypatch.setattr(module, name, fail)
    with pytest.raises(tool.ConversionError, match='cannot write .*dst.pth: .*No space left on device'):
        tool.save(dict(state_dict={}), tmp_path / 'dst.pth')
    monkeypatch.undo()
    assert (tmp_path / 'dst.pth').read_text() == 'precious'
    assert os.listdir(tmp_path) == ['dst.pth']


def test_dst_is_a_directory(tool, tmp_path):
    with pytest.raises(tool.ConversionError, match='it is a directory'):
        tool.save(dict(state_dict={}), tmp_path)


def test_command_line(repo, tmp_path):
    torch.save(dict(a=torch.zeros(1)), tmp_path / 'src.pth')
    command = [sys.executable, 'tools/model_converters/convert.py', str(tmp_path / 'src.pth'), str(tmp_path / 'dst')]
    result = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, '')
    assert result.stderr.startswith('error: ') and result.stderr.count('\n') == 1 and 'Traceback' not in result.stderr


class TestCheckpointsOfMmengine:
    """Those of mmengine's own CheckpointHook have pickled objects in them."""

    @pytest.fixture
    def stock(self, tiny_cfg, build_runner):
        """A training with mmengine's own runner, of two epochs."""
        tiny_cfg.runner_type = 'Runner'
        tiny_cfg.train_cfg.update(max_epochs=2, val_interval=1)
        tiny_cfg.train_dataloader.num_workers = 0
        tiny_cfg.default_hooks.checkpoint.save_best = 'coco/circle_precision'  # a scalar of NumPy
        build_runner(tiny_cfg).train()
        return tiny_cfg

    def test_keeps_the_training(self, tool, stock, tmp_path, build_runner, capsys):
        """The result is tested and resumed from."""
        src, dst = f'{stock.work_dir}/epoch_2.pth', f'{tmp_path}/converted.pth'
        original = torch.load(src, weights_only=False)
        stock.runner_type = 'mmthunder.engine.ThunderRunner'
        stock.load_from, stock.resume, stock.train_cfg.max_epochs = src, True, 3
        if not hasattr(mmengine_checkpoint, 'get_torch_safe_globals'):  # the OneDL fork's, which HistoryBuffer is of
            with pytest.raises(CheckpointError, match='HistoryBuffer.*convert.py'):
                build_runner(stock).train()

        assert tool.main([src, dst]) == 0
        assert 'checkpoint of mmengine' in capsys.readouterr().out
        converted = torch.load(dst, weights_only=True)
        assert converted.keys() == original.keys()
        assert all(torch.equal(value, original['state_dict'][key]) for key, value in converted['state_dict'].items())
        assert converted['meta'] == original['meta']
        assert repr(converted['param_schedulers']) == repr(original['param_schedulers'])
        assert repr(converted['optimizer']) == repr(original['optimizer'])
        info, expected = (checkpoint['message_hub']['runtime_info'] for checkpoint in (converted, original))
        assert type(expected['best_score']) is np.float64 and type(info['best_score']) is float
        assert info == expected
        assert set(converted['message_hub']['log_scalars']) < set(original['message_hub']['log_scalars'])

        stock.load_from = dst
        runner = build_runner(stock)
        runner.train()
        assert runner.epoch == 3
        # It needs no further conversion.
        assert tool.main([dst, f'{tmp_path}/again.pth']) == 1
        assert 'use it as it is' in capsys.readouterr().err

    def test_scalars_of_numpy_alone(self, run):
        """These, too, PyTorch's weights-only loader refuses."""
        meta = dict(mmengine_version='0.10.7', best=np.float32(0.5), counts=[np.int64(3)], done=np.bool_(True))
        code, out, err, dst = run(dict(state_dict=dict(weight=torch.ones(1)), meta=meta))
        assert (code, err) == (0, '') and 'left out' not in out
        expected = dict(mmengine_version='0.10.7', best=0.5, counts=[3], done=True)
        assert torch.load(dst, weights_only=True)['meta'] == expected

    def test_malicious(self, run, tmp_path):
        mark = tmp_path / 'mark'
        meta = dict(mmengine_version='0.10.7', epoch=1, seed=Malicious(str(mark)), classes=('a', Malicious(str(mark))))
        code, out, err, dst = run(dict(state_dict=dict(weight=torch.ones(1)), meta=meta))
        assert (code, err) == (0, '') and not mark.exists()
        converted = torch.load(dst, weights_only=True)
        assert converted['meta'] == dict(mmengine_version='0.10.7', epoch=1, classes=('a',)) and not mark.exists()
