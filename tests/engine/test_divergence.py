"""A training that diverges stops by itself, and every checkpoint that it leaves can be used."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import MessageHub

from mmthunder.engine import DivergenceHook


class Breaker(Hook):
    """Puts a value into the model or the losses after the step of an iteration, before other hooks look."""

    priority = 'VERY_HIGH'

    def __init__(self, at: int, key: str, value: float) -> None:
        self.at, self.key, self.value = at, key, value

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == self.at:
            {**outputs, **runner.model.state_dict()}[self.key].view(-1)[0] = self.value


@pytest.fixture
def cfg(tiny_cfg: Config) -> Config:
    """12 iterations, 4 an epoch, in which the only checkpoint is replaced by the next."""
    tiny_cfg.train_cfg.update(max_epochs=3, val_interval=100)
    tiny_cfg.train_dataloader.num_workers = 0
    tiny_cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    return tiny_cfg


def count_by_iterations(cfg: Config, interval: int) -> None:
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=12, val_interval=100)
    cfg.param_scheduler = cfg.param_scheduler[:1]
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=interval)
    cfg.log_processor.by_epoch = False
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler')


def check_checkpoints(cfg: Config, name: str) -> None:
    """The folder holds one checkpoint, the one that it points to, and all in it is finite."""
    work_dir = Path(cfg.work_dir)
    assert [path.name for path in work_dir.glob('*.pth')] == [name]
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / name)
    checkpoint = torch.load(work_dir / name, weights_only=True)
    assert all(value.isfinite().all() for value in checkpoint['state_dict'].values())


def test_comes_before_the_checkpoint(cfg, build_runner):
    hooks = build_runner(cfg)._hooks
    (divergence,) = (i for i, hook in enumerate(hooks) if isinstance(hook, DivergenceHook))
    (checkpoint,) = (i for i, hook in enumerate(hooks) if isinstance(hook, CheckpointHook))
    assert divergence < checkpoint


@pytest.mark.parametrize(
    ('by_epoch', 'key', 'value'),
    [
        (True, 'loss_cls', float('nan')),
        (True, 'backbone.stem.0.conv.weight', float('nan')),
        (True, 'backbone.stem.0.bn.running_var', float('inf')),
        (False, 'loss', float('inf')),
        (False, 'roi_head.bbox_head.fc_cls.bias', -float('inf')),
    ],
)
def test_stops_before_the_checkpoint(cfg, build_runner, by_epoch, key, value):
    """In the very iteration after which a checkpoint would replace the last one."""
    if not by_epoch:
        count_by_iterations(cfg, interval=4)
    runner = build_runner(cfg)
    runner.register_hook(Breaker(7, key, value))
    name = 'epoch_1.pth' if by_epoch else 'iter_4.pth'
    with pytest.raises(FloatingPointError) as error:
        runner.train()
    assert runner.iter == 7
    message = str(error.value)
    assert message.startswith(f'training has diverged: {key} infinite or NaN in iteration 8; the last checkpoint is ')
    assert f'/{name}; lower the learning rate' in message and '\n' not in message
    check_checkpoints(cfg, name)


def test_counts_what_is_broken():
    model = torch.nn.Linear(2, 2).requires_grad_(False)
    torch.nn.init.constant_(model.weight, float('nan'))
    outputs = dict(
        zip(
            'abcde',
            (torch.tensor(float('inf')), torch.tensor(1.0), torch.tensor(float('nan')), 3, torch.tensor(float('nan'))),
        )
    )
    runner = SimpleNamespace(model=model, iter=0, message_hub=MessageHub.get_instance('empty'))
    with pytest.raises(FloatingPointError, match='diverged: a, c, e and 1 more inf.* no checkpoint has been'):
        DivergenceHook().after_train_iter(runner, 0, outputs=outputs)


def test_large_weights_are_no_divergence():
    """Half precision has sums beyond its range."""
    model = torch.nn.Linear(1000, 100).half().requires_grad_(False)
    torch.nn.init.constant_(model.weight, 60000)
    DivergenceHook().after_train_iter(SimpleNamespace(model=model), 0)


def test_enormous_learning_rate(cfg, build_runner):
    """Nothing is broken by hand: weight decay at this rate multiplies the weights in each step."""
    cfg.train_cfg.max_epochs = 50
    cfg.optim_wrapper.clip_grad = None
    cfg.optim_wrapper.optimizer.lr = 3e3
    runner = build_runner(cfg)
    with pytest.raises(FloatingPointError, match='training has diverged: .*; the last checkpoint is') as error:
        runner.train()
    name = f'epoch_{runner.epoch}.pth'  # of the epoch before
    assert runner.epoch > 0 and f'/{name}; lower the learning rate' in str(error.value)
    check_checkpoints(cfg, name)


def diverge_in_one_step(cfg: Config) -> None:
    """The only step of the training, from a finite loss, makes weights infinite."""
    cfg.train_dataloader.batch_size = 8
    cfg.train_cfg.max_epochs = 1
    cfg.param_scheduler = None
    cfg.optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=3e38, weight_decay=100))


def test_mmdets_hook_misses_the_last_step(cfg, build_runner):
    """mmdet's hook looks at losses: the weights that a step has made enter the loss of the next iteration only."""
    diverge_in_one_step(cfg)
    cfg.runner_type = 'Runner'
    cfg.custom_hooks = [dict(type='CheckInvalidLossHook', interval=1, priority='LOW')]
    build_runner(cfg).train()
    checkpoint = torch.load(f'{cfg.work_dir}/epoch_1.pth', weights_only=False)
    assert not all(value.isfinite().all() for value in checkpoint['state_dict'].values())


def test_the_last_step_is_checked(cfg, build_runner):
    diverge_in_one_step(cfg)
    with pytest.raises(FloatingPointError, match='in iteration 1; no checkpoint has been written'):
        build_runner(cfg).train()
    assert not list(Path(cfg.work_dir).glob('*.pth'))
