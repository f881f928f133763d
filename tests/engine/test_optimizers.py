import pytest
import torch
from mmdet.registry import MODELS, OPTIM_WRAPPERS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import nn

from mmthunder.engine import CPUAmpOptimWrapper
from mmthunder.engine.optimizers.amp_optim_wrapper import NETWORK_PARTS

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="--amp is mmengine's own on CUDA")


class Head(nn.Module):
    """Returns its dtype's traces: float, integer and nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        out = self.fc(x)
        self.computed_in = out.dtype
        return out, [out, torch.ones(2, dtype=torch.long)]


class Model(BaseModel):
    """A model with one part that amp knows and one that it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.neck = Head()
        self.other = Head()

    def forward(self, inputs, data_samples=None, mode='tensor'):
        out, (_, integers) = self.neck(inputs)
        assert out.dtype == torch.float32 and integers.dtype == torch.long
        other, _ = self.other(inputs)
        return dict(loss=(out + other).square().mean())


def build(model: nn.Module, **kwargs) -> OptimWrapper:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return OPTIM_WRAPPERS.build(dict(type='CPUAmpOptimWrapper', **kwargs), default_args=dict(optimizer=optimizer))


def test_amp_is_bfloat16_of_the_parts():
    torch.manual_seed(0)
    model = Model()
    before = model.neck.fc.weight.detach().clone()
    # What mmdet's train.py sets for --amp.
    wrapper = build(model, loss_scale='dynamic')
    loss = model.train_step(dict(inputs=torch.rand(3, 4), data_samples=None), wrapper)['loss']
    assert torch.isfinite(loss)
    assert model.neck.computed_in == torch.bfloat16 and model.other.computed_in == torch.float32
    assert model.neck.fc.weight.dtype == torch.float32
    assert not torch.equal(model.neck.fc.weight, before)
    # Outside a step, and so in tests, everything is float32.
    model(torch.rand(3, 4))
    assert model.neck.computed_in == torch.float32
    assert 'forward' not in vars(model.neck)


def test_an_error_leaves_the_model_as_it_was():
    model = Model()
    wrapper = build(model)
    with pytest.raises(RuntimeError), wrapper.optim_context(model):
        model(torch.rand(3, 5))
    model(torch.rand(3, 4))
    assert model.neck.computed_in == torch.float32


def test_a_forward_of_the_instance_stays():
    """mmengine puts one there for activation checkpointing, for example."""
    model = Model()
    forward = model.neck.forward
    model.neck.forward = lambda x: forward(2 * x)
    own = model.neck.forward
    with build(model).optim_context(model):
        assert model.neck.forward is not own
    assert model.neck.forward is own


def test_a_model_without_the_parts():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match='--amp on CPU: Sequential has none of the parts .*backbone'):
        with build(model).optim_context(model):
            pass


@pytest.mark.parametrize(
    ('config', 'absent'),
    [
        ('thundernet/thundernet_snet49_1xb8-5e_shapes', {'roi_head.mask_head'}),
        ('detnet/mask-rcnn_detnet59_fpn_1xb2-160e_coco6', {'rpn_head.trunk', 'sam'}),
    ],
)
def test_detectors(repo, config, absent):
    """A step of a real detector with all its parts in bfloat16."""
    cfg = Config.fromfile(repo / f'configs/{config}.py')
    cfg.model.train_cfg.rcnn.sampler.num = 16
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    assert {name for name in NETWORK_PARTS if name not in dict(model.named_modules())} == absent
    computed = {}
    for name in set(NETWORK_PARTS) - absent:
        layer = next(m for m in model.get_submodule(name).modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
        layer.register_forward_hook(lambda module, inputs, output, name=name: computed.update({name: output.dtype}))
    data = demo_mm_inputs(2, [[3, 64, 64]] * 2, [2, 2], num_classes=2, with_mask='roi_head.mask_head' not in absent)
    logs = model.train().train_step(data, build(model, clip_grad=dict(max_norm=1)))
    assert all(torch.isfinite(value).all() for value in logs.values())
    assert set(computed) == set(NETWORK_PARTS) - absent
    assert set(computed.values()) == {torch.bfloat16}
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_other_dtypes_are_refused():
    build(Model(), dtype='bfloat16')
    with pytest.raises(ValueError, match=r'optim_wrapper\.dtype=float16'):
        build(Model(), dtype='float16')


@pytest.mark.parametrize('name', ['AmpOptimWrapper', 'mmengine.AmpOptimWrapper', AmpOptimWrapper])
def test_runner_replaces_mmengines(tiny_cfg, build_runner, name):
    """However the config names it; other wrappers stay."""
    runner = build_runner(tiny_cfg)
    optim_wrapper = dict(tiny_cfg.optim_wrapper, type=name)
    assert type(runner.build_optim_wrapper(dict(optim_wrapper, loss_scale='dynamic'))) is CPUAmpOptimWrapper
    runner.build_optim_wrapper(optim_wrapper)
    assert optim_wrapper['type'] is name
    assert type(runner.build_optim_wrapper(dict(optim_wrapper, type='OptimWrapper'))) is OptimWrapper
