import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from mmdet.engine.hooks import NumClassCheckHook
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS, RUNNERS
from mmengine.runner import Runner
from torch import nn

from mmthunder.engine import (
    AtomicCheckpointHook,
    DivergenceHook,
    RNGStateHook,
    StrictCheckpointHook,
    ThunderRunner,
    WeightsOnlyCheckpointHook,
)
from mmthunder.engine.hooks import CheckpointFitHook


def test_registered():
    assert RUNNERS.get('ThunderRunner') is RUNNERS.get('mmthunder.engine.ThunderRunner') is ThunderRunner


@MODEL_WRAPPERS.register_module(force=True)
class OtherWrapper(nn.Module):
    """A wrapper that takes no devices."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


@pytest.mark.skipif(get_device() != 'cpu', reason='is about jobs on CPU')
class TestWrapModel:
    @pytest.fixture
    def runner(self, tiny_cfg, build_runner, monkeypatch, tmp_path):
        """A runner that is the only process of a distributed job."""
        runner = build_runner(tiny_cfg)
        monkeypatch.setattr(runner, '_distributed', True)
        monkeypatch.setenv('LOCAL_RANK', '0')
        torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1)
        yield runner
        torch.distributed.destroy_process_group()

    @pytest.mark.parametrize(
        ('norm', 'sync_bn', 'warns'),
        [
            (nn.SyncBatchNorm, None, True),
            (nn.BatchNorm2d, 'torch', True),
            (nn.BatchNorm2d, None, False),
        ],
    )
    def test_synchronised_norm(self, runner, monkeypatch, norm, sync_bn, warns):
        """It is plain batch norm; there is a warning only where another was asked for."""
        messages = []
        monkeypatch.setattr(runner.logger, 'warning', messages.append)
        runner.cfg.sync_bn = sync_bn
        wrapped = runner.wrap_model(None, nn.Sequential(norm(3)))
        assert isinstance(wrapped, MMDistributedDataParallel) and not wrapped.broadcast_buffers
        assert not isinstance(wrapped.module[0], nn.SyncBatchNorm)
        assert any('SyncBN needs a GPU' in message for message in messages) == warns
        wrapped(torch.rand(2, 3, 4, 4)).sum().backward()

    @pytest.mark.parametrize(
        'cfg',
        [
            dict(find_unused_parameters=True),
            dict(type='MMDistributedDataParallel', find_unused_parameters=True, device_ids=[0]),
        ],
    )
    def test_own_wrapper(self, runner, cfg):
        before = dict(cfg)
        wrapped = runner.wrap_model(cfg, nn.Linear(3, 3))
        assert isinstance(wrapped, MMDistributedDataParallel)
        assert wrapped.device_ids is None and wrapped.find_unused_parameters
        assert cfg == before

    def test_without_devices(self, runner):
        assert isinstance(runner.wrap_model(dict(type='OtherWrapper'), nn.Linear(3, 3)), OtherWrapper)


def test_unknown_start_method(tiny_cfg, build_runner):
    tiny_cfg.env_cfg.mp_cfg.mp_start_method = 'thread'
    with pytest.raises(ValueError, match=r"mp_start_method='thread': .*spawn"):
        build_runner(tiny_cfg)


class TestHooks:
    """What the runner adds does not depend on the lists and dicts that a user's config replaces."""

    ADDED = (StrictCheckpointHook, RNGStateHook, DivergenceHook, WeightsOnlyCheckpointHook, NumClassCheckHook)

    @staticmethod
    def counts(runner: Runner) -> Counter:
        return Counter(type(hook) for hook in runner._hooks)

    @pytest.mark.parametrize(
        'options',
        [
            {},
            dict(custom_hooks=[dict(type='EMAHook')]),
            dict(custom_hooks=[dict(type='CheckInvalidLossHook'), dict(type='NumClassCheckHook')]),
            dict(default_hooks=dict(_delete_=True, checkpoint=dict(type='CheckpointHook', interval=1))),
            dict(default_hooks=dict(_delete_=True, logger=dict(type='LoggerHook'))),
            dict(default_hooks=dict(_delete_=True, checkpoint=dict(type='mmengine.CheckpointHook'))),
            dict(default_hooks=dict(_delete_=True, checkpoint=dict(type=CheckpointHook))),
            # As in configs from before the runner added hooks, also under their former names.
            dict(default_hooks=dict(rng_state=dict(type='RNGStateHook'), strict=dict(type=CheckpointFitHook))),
            dict(default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook'))),
            dict(custom_imports=dict(_delete_=True, imports=['json'])),
            dict(visualizer=dict(_delete_=True, type='Visualizer', name='other')),
        ],
    )
    def test_are_there_once(self, tiny_cfg, build_runner, options):
        tiny_cfg.merge_from_dict(options)
        counts = self.counts(build_runner(tiny_cfg))
        assert [counts[hook] for hook in (*self.ADDED, AtomicCheckpointHook)] == [1] * 6
        assert CheckpointHook not in counts

    @pytest.mark.slow
    def test_own_custom_imports(self, tiny_cfg):
        """In a process that has imported nothing of this package before the runner is built."""
        tiny_cfg.custom_imports = dict(imports=['json'], allow_failed_imports=False)
        path = Path(tiny_cfg.work_dir).with_name('own.py')
        tiny_cfg.dump(path)
        script = (
            'import sys; from mmengine.config import Config; from mmengine.registry import RUNNERS; '
            'runner = RUNNERS.build(Config.fromfile(sys.argv[1])); '
            'print(type(runner).__name__, type(runner.model).__name__)'
        )
        result = subprocess.run([sys.executable, '-c', script, path], capture_output=True, text=True)
        assert result.stdout.splitlines()[-1:] == ['ThunderRunner ThunderNet'], result.stderr

    def test_checkpoint_hook_keeps_its_settings(self, tiny_cfg, build_runner):
        tiny_cfg.default_hooks.checkpoint = dict(
            type='CheckpointHook', interval=7, max_keep_ckpts=2, save_best='coco/bbox_mAP', priority=95
        )
        (hook,) = (hook for hook in build_runner(tiny_cfg)._hooks if isinstance(hook, CheckpointHook))
        assert type(hook) is AtomicCheckpointHook
        assert (hook.interval, hook.max_keep_ckpts, hook.save_best, hook.priority) == (7, 2, ['coco/bbox_mAP'], 95)

    def test_own_checkpoint_hooks_stay(self, tiny_cfg, build_runner):
        class OwnCheckpointHook(CheckpointHook):
            pass

        tiny_cfg.default_hooks.checkpoint = dict(type=OwnCheckpointHook)
        counts = self.counts(build_runner(tiny_cfg))
        assert counts[OwnCheckpointHook] == 1 and AtomicCheckpointHook not in counts
        tiny_cfg.default_hooks.checkpoint = None
        assert not any(isinstance(hook, CheckpointHook) for hook in build_runner(tiny_cfg)._hooks)

    def test_order(self, tiny_cfg, build_runner):
        """Loading is checked first; the checkpoint is written last, and its contents are converted at the very end."""
        tiny_cfg.custom_hooks = [dict(type='EMAHook', priority=49)]
        names = [type(hook).__name__ for hook in build_runner(tiny_cfg)._hooks]
        order = ('StrictCheckpointHook', 'EMAHook', 'DivergenceHook', 'AtomicCheckpointHook')
        assert [name for name in names if name in order] == list(order)
        assert names[-1] == 'WeightsOnlyCheckpointHook'

    def test_number_of_classes_is_checked(self, tiny_cfg, build_runner):
        tiny_cfg.custom_hooks = [dict(type='EMAHook')]
        tiny_cfg.model.roi_head.bbox_head.num_classes = 5
        with pytest.raises(ValueError, match='num_classes'):
            build_runner(tiny_cfg).train()

    def test_classifiers_have_no_class_check(self, tiny_cfg, build_runner):
        runner = build_runner(tiny_cfg)
        runner._hooks, runner.model = [], nn.Linear(1, 1)
        runner.register_hooks()
        assert NumClassCheckHook not in self.counts(runner) and self.counts(runner)[DivergenceHook] == 1
