import copy
import multiprocessing
import random
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Optional

import numpy as np
import pytest
import torch
from mmdet.models import DetTTAModel
from mmdet.registry import HOOKS, MODELS
from mmengine.config import ConfigDict
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import revert_sync_batchnorm
from torch import nn

from mmthunder.engine import RNGStateHook, WeightsOnlyCheckpointHook
from mmthunder.engine.hooks.rng_state_hook import seed_worker


def draw() -> list:
    """What each source of randomness gives next."""
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(3).tolist(),
        np.random.standard_normal(),
        torch.rand(3).tolist(),
        torch.randperm(9).tolist(),
    ]


class Recorder(Hook):
    """Keeps every iteration's loss; stops training like a killed process at a given iteration."""

    def __init__(self, stop_at: int = -1) -> None:
        self.stop_at = stop_at
        self.losses = {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses[runner.iter] = outputs['loss'].item()
        if runner.iter == self.stop_at:
            raise KeyboardInterrupt


class TestWeightsOnlyCheckpointHook:
    def test_round_trip(self, tmp_path):
        buffer = HistoryBuffer(max_length=4)
        for i in range(6):
            buffer.update(i / 3, 2)
        checkpoint = dict(
            meta=dict(iter=np.int64(3), seen=[np.float32(0.5), dict(flag=np.bool_(True))], pair=(np.int32(1), 'a')),
            state_dict=OrderedDict(weight=torch.rand(2)),
            optimizer=dict(state={0: dict(momentum_buffer=torch.rand(2))}),
            message_hub=dict(log_scalars=OrderedDict({'train/loss': buffer}), runtime_info=dict(sizes=np.arange(3))),
        )
        # What a config's metainfo may hold.
        checkpoint['meta']['dataset_meta'] = dict(groups=ConfigDict(pets=('cat', 'dog')), names=np.array(['a', 'b']))
        weight = checkpoint['state_dict']['weight']
        hook = HOOKS.build(dict(type='WeightsOnlyCheckpointHook'))
        hook.before_save_checkpoint(None, checkpoint)
        assert checkpoint['state_dict']['weight'] is weight
        torch.save(checkpoint, tmp_path / 'checkpoint.pth')
        loaded = torch.load(tmp_path / 'checkpoint.pth', weights_only=True)

        dataset_meta = loaded['meta'].pop('dataset_meta')
        assert dataset_meta['groups'] == dict(pets=('cat', 'dog'))
        assert list(dataset_meta['names']) == ['a', 'b']
        assert loaded['meta'] == dict(iter=3, seen=[0.5, dict(flag=True)], pair=(1, 'a'))
        assert type(loaded['meta']['iter']) is int
        assert loaded['message_hub']['runtime_info']['sizes'].tolist() == [0, 1, 2]
        hook.after_load_checkpoint(None, loaded)
        restored = loaded['message_hub']['log_scalars']['train/loss']
        assert isinstance(restored, HistoryBuffer)
        assert restored.max_length == 4
        for column, expected in zip(restored.data, buffer.data):
            np.testing.assert_array_equal(column, expected)
        # It goes on like the original.
        for history in (restored, buffer):
            history.update(9.0, 1)
        assert restored.mean(3) == buffer.mean(3)
        assert restored.max() == buffer.max() and restored.current() == 9

    def test_the_run_keeps_its_own_buffers(self):
        """Saving must not take apart what the running job still writes to."""
        scalars = OrderedDict(loss=HistoryBuffer([1.0], [1], 9))
        checkpoint = dict(message_hub=dict(log_scalars=scalars))
        WeightsOnlyCheckpointHook().before_save_checkpoint(None, checkpoint)
        assert isinstance(scalars['loss'], HistoryBuffer)

    @pytest.mark.parametrize('checkpoint', [dict(state_dict={}), dict(weight=torch.zeros(1))])
    def test_foreign_checkpoints_pass(self, checkpoint):
        before = copy.deepcopy(checkpoint)
        WeightsOnlyCheckpointHook().after_load_checkpoint(None, checkpoint)
        assert checkpoint == before


class TestRNGStateHook:
    def test_restores_all_sources(self, tmp_path):
        hook = HOOKS.build(dict(type='RNGStateHook'))
        draw()  # leaves a cached Gaussian in Python and numpy
        checkpoint = {}
        hook.before_save_checkpoint(None, checkpoint)
        expected = draw()
        torch.save(checkpoint, tmp_path / 'checkpoint.pth')

        checkpoint = torch.load(tmp_path / 'checkpoint.pth', weights_only=True)
        hook = RNGStateHook()
        runner = SimpleNamespace(_resume=True, train_loop=None)
        hook.after_load_checkpoint(runner, checkpoint)
        assert 'random_state' not in checkpoint
        draw()
        hook.before_train_iter(runner, 0)
        assert draw() == expected
        # Once: later iterations go on.
        hook.before_train_iter(runner, 1)
        assert draw() != expected

    def test_loading_without_resuming_restores_nothing(self):
        checkpoint = {}
        RNGStateHook().before_save_checkpoint(None, checkpoint)
        expected = draw()
        hook = RNGStateHook()
        hook.after_load_checkpoint(SimpleNamespace(_resume=False), checkpoint)
        hook.before_train_iter(None, 0)
        assert draw() != expected

    def test_checkpoints_without_random_states(self):
        hook = RNGStateHook()
        hook.after_load_checkpoint(SimpleNamespace(_resume=True), {})
        hook.before_train_iter(None, 0)

    def test_validation_does_not_disturb(self):
        hook = RNGStateHook()
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        expected = draw()
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        hook.before_val(None)
        draw()
        hook.after_val(None)
        assert draw() == expected

    @staticmethod
    def draw_in_worker(seed: int) -> tuple:
        torch.manual_seed(seed)
        seed_worker(0)
        return random.random(), np.random.rand()

    def test_seed_worker(self):
        """Follows torch's seed of the worker, which differs from epoch to epoch and may have 64 bits."""
        first = self.draw_in_worker(5)
        assert self.draw_in_worker(5) == first and self.draw_in_worker(2**40 + 5) == first
        assert all(a != b for a, b in zip(self.draw_in_worker(6), first))

    def test_seed_worker_of_another_process(self, monkeypatch):
        """A forked worker has the process group, a spawned one the environment only."""
        first = self.draw_in_worker(5)
        monkeypatch.setattr('mmthunder.engine.hooks.rng_state_hook.get_rank', lambda: 1)
        forked = self.draw_in_worker(5)
        assert all(a != b for a, b in zip(forked, first))
        monkeypatch.undo()
        monkeypatch.setenv('RANK', '1')
        assert self.draw_in_worker(5) == forked
        monkeypatch.setenv('RANK', '0')
        assert self.draw_in_worker(5) == first


class TestStrictCheckpointHook:
    @staticmethod
    def load(state_dict: dict, kind: str = 'test', wrap: bool = True, schedulers: Optional[list] = None, **others):
        """Compare with a model of 8 keys: four fully connected layers."""
        model = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))
        # mmengine keeps the loop's config until it needs the loop, so a test has a dict here.
        runner = SimpleNamespace(
            model=model,
            _train_loop=dict(max_epochs=1) if kind == 'test' else object(),
            _resume=kind == 'resume',
            _load_from='work_dirs/other.pth',
            param_schedulers=schedulers,
        )
        HOOKS.build(dict(type='StrictCheckpointHook')).after_load_checkpoint(
            runner, dict(others, state_dict=state_dict) if wrap else state_dict
        )

    @staticmethod
    def weights() -> dict:
        return nn.Sequential(*(nn.Linear(3, 3) for _ in range(4))).state_dict()

    @pytest.mark.parametrize('wrap', [True, False])
    @pytest.mark.parametrize('kind', ['test', 'fine-tune'])
    def test_fits(self, kind, wrap):
        self.load(self.weights(), kind, wrap)
        self.load({f'module.{key}': value for key, value in self.weights().items()}, kind, wrap)

    def test_resuming_needs_the_training(self):
        """mmengine would start anew what is not there, or fail for want of a key."""
        state = dict(meta={}, message_hub={}, optimizer={}, param_schedulers=[])
        self.load(self.weights(), 'resume', schedulers=[object()], **state)
        remedy = '; resume from one named epoch_ or iter_, or give it as load_from without --resume'
        for key in state:
            others = {other: value for other, value in state.items() if other != key}
            with pytest.raises(ValueError, match=f'^work_dirs/other.pth: this checkpoint has no {key} to .*{remedy}'):
                self.load(self.weights(), 'resume', schedulers=[object()], **others)
        for wrap in (True, False):
            with pytest.raises(ValueError, match='no meta and no message_hub and no optimizer to resume from') as error:
                self.load(self.weights(), 'resume', wrap)
            assert '\n' not in str(error.value)
        # A training at one learning rate has no schedulers.
        del state['param_schedulers']
        for schedulers in (None, []):
            self.load(self.weights(), 'resume', schedulers=schedulers, **state)

    @pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
    @pytest.mark.parametrize('kind', ['test', 'resume', 'fine-tune'])
    def test_diverged(self, kind, value):
        """mmengine would test it and report an AP of 0."""
        weights = self.weights()
        weights['1.weight'][2, 1] = value
        with pytest.raises(ValueError, match=r'^work_dirs/other.pth: 1 keys are infinite or NaN \(1.weight\), so that'):
            self.load(weights, kind)

    def test_augmented_test(self, tiny_model):
        """`mim test --tta` wraps the detector."""
        detector = revert_sync_batchnorm(MODELS.build(tiny_model))
        runner = SimpleNamespace(
            model=DetTTAModel(module=detector), _train_loop=None, _resume=False, _load_from='other.pth'
        )
        hook = HOOKS.build(dict(type='StrictCheckpointHook'))
        hook.after_load_checkpoint(runner, dict(state_dict=detector.state_dict()))
        with pytest.raises(ValueError, match='1 keys are unexpected'):
            hook.after_load_checkpoint(runner, dict(state_dict=dict(detector.state_dict(), other=torch.zeros(1))))

    @pytest.mark.parametrize('kind', ['test', 'resume'])
    def test_tests_and_resuming_need_every_key(self, kind):
        weights = self.weights()
        del weights['0.bias']
        with pytest.raises(ValueError, match=r'work_dirs/other.pth: .*of 8 keys, 1 keys are missing \(0.bias\); use'):
            self.load(weights, kind)
        with pytest.raises(ValueError, match=r'of 8 keys, 1 keys are unexpected \(9.bias\)'):
            self.load(dict(self.weights(), **{'9.bias': torch.zeros(3)}), kind)
        with pytest.raises(ValueError, match=r'1 keys have other shapes \(3.bias: \(5,\) in the file, \(3,\) in'):
            self.load(dict(self.weights(), **{'3.bias': torch.zeros(5)}), kind)

    @pytest.mark.parametrize('kind', ['test', 'resume', 'fine-tune'])
    def test_another_architecture(self, kind):
        """All three counts, and the first three keys of each."""
        weights = {f'other.{key}': value for key, value in self.weights().items() if key[0] not in '01'}
        weights['0.bias'] = torch.zeros(9)
        with pytest.raises(ValueError) as error:
            self.load(weights, kind)
        message = str(error.value)
        assert 'another architecture than the config: of 8 keys' in message
        assert '7 keys are missing (0.weight, 1.weight, 1.bias, ...)' in message
        assert '4 keys are unexpected (other.2.weight, other.2.bias, other.3.weight, ...)' in message
        assert '1 keys have other shapes (0.bias: (9,) in the file, (3,) in the model)' in message
        assert '\n' not in message

    def test_fine_tuning_needs_half_of_the_keys(self):
        weights = self.weights()
        half = {key: value for key, value in weights.items() if key[0] in '01'}
        self.load(half, 'fine-tune')
        self.load(dict(weights, **{'3.bias': torch.zeros(5), 'extra': torch.zeros(1)}), 'fine-tune')
        del half['0.bias']
        with pytest.raises(ValueError, match='5 keys are missing'):
            self.load(half, 'fine-tune')


@pytest.mark.slow
class TestTraining:
    """The hooks in training runs of seconds, through the config's own runner and hooks."""

    @staticmethod
    def train(cfg, build_runner, stop_at: int = -1) -> tuple:
        runner = build_runner(cfg)
        recorder = Recorder(stop_at)
        runner.register_hook(recorder, 'VERY_LOW')
        if stop_at < 0:
            runner.train()
        else:
            with pytest.raises(KeyboardInterrupt):
                runner.train()
        return recorder.losses, runner

    @pytest.fixture
    def cfg(self, tiny_cfg):
        """3 epochs of 4 iterations, random augmentation in a worker, a checkpoint and a validation each epoch."""
        tiny_cfg.train_cfg.update(max_epochs=3, val_interval=1)
        tiny_cfg.param_scheduler[1].update(end=3, T_max=3)
        tiny_cfg.train_dataloader.dataset.pipeline.insert(-1, dict(type='PhotoMetricDistortion'))
        tiny_cfg.default_hooks.checkpoint.max_keep_ckpts = -1
        return tiny_cfg

    @pytest.mark.parametrize(
        ('num_workers', 'save_best', 'custom_hooks'),
        [
            (0, None, []),
            (1, 'coco/bbox_mAP', []),
            (0, 'coco/bbox_mAP', [dict(type='EMAHook', ema_type='ExpMomentumEMA', update_buffers=True, priority=49)]),
        ],
    )
    def test_resumed_is_uninterrupted(self, cfg, build_runner, tmp_path, num_workers, save_best, custom_hooks):
        cfg.train_dataloader.num_workers = num_workers
        cfg.custom_hooks = custom_hooks
        # Where a validation gives the best result so far, mmengine saves the last checkpoint once more.
        cfg.default_hooks.checkpoint.save_best = save_best
        losses, runner = self.train(cfg, build_runner)
        assert len(losses) == 12 and len(set(losses.values())) == 12
        weights = copy.deepcopy(runner.model.state_dict())
        history = copy.deepcopy(runner.message_hub.log_scalars)

        cfg.work_dir = str(tmp_path / 'interrupted')
        before, _ = self.train(cfg, build_runner, stop_at=5)  # in the second epoch
        assert len(list(Path(cfg.work_dir).glob('best_*.pth'))) == (save_best is not None)
        cfg.resume = True
        after, runner = self.train(cfg, build_runner)
        assert sorted(before) == list(range(6)) and sorted(after) == list(range(4, 12))
        assert {**before, **after} == losses
        assert all(before[i] == after[i] for i in (4, 5))
        assert all(torch.equal(value, weights[key]) for key, value in runner.model.state_dict().items())
        # The log goes on where it was, with what the interrupted run had logged before.
        resumed = runner.message_hub.log_scalars['train/loss']
        np.testing.assert_array_equal(resumed.data[0], history['train/loss'].data[0])

    @pytest.mark.skipif(
        hasattr(InfiniteSampler, 'skip'), reason="mmengine's OneDL fork skips batches without loading them"
    )
    def test_resumed_is_uninterrupted_by_iterations(self, cfg, build_runner, tmp_path):
        """The paper's schedules count iterations: persistent workers, images drawn without end."""
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=6, val_interval=2)
        cfg.param_scheduler = cfg.param_scheduler[:1]
        cfg.default_hooks.checkpoint.update(by_epoch=False, interval=2)
        cfg.log_processor.by_epoch = False
        cfg.train_dataloader.update(num_workers=2, persistent_workers=True, sampler=dict(type='InfiniteSampler'))
        losses, runner = self.train(cfg, build_runner)
        assert len(set(losses.values())) == 6
        weights = copy.deepcopy(runner.model.state_dict())

        cfg.work_dir = str(tmp_path / 'interrupted')
        self.train(cfg, build_runner, stop_at=2)
        cfg.resume = True
        after, runner = self.train(cfg, build_runner)
        assert after == {i: losses[i] for i in range(2, 6)}
        assert all(torch.equal(value, weights[key]) for key, value in runner.model.state_dict().items())

    @pytest.mark.skipif(torch.cuda.is_available(), reason="--amp is mmengine's own on CUDA")
    def test_amp(self, cfg, build_runner):
        """With what mmdet's train.py sets for --amp; tests and other trainings are in float32."""
        cfg.train_cfg.max_epochs = 1
        plain, _ = self.train(cfg, build_runner)
        cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
        losses, runner = self.train(cfg, build_runner)
        assert losses != plain and losses == pytest.approx(plain, rel=0.1)
        assert all(value.dtype != torch.bfloat16 for value in runner.model.state_dict().values())

    @pytest.fixture
    def restore_start_method(self):
        """Runners set it for the whole process."""
        method = multiprocessing.get_start_method(allow_none=True)
        yield
        multiprocessing.set_start_method(method, force=True)

    @pytest.mark.slow
    @pytest.mark.usefixtures('restore_start_method')
    def test_start_methods_of_workers(self, cfg, build_runner, tmp_path):
        """Each gives the same training: the images, their augmentations and the classes that are registered."""
        cfg.train_cfg.update(max_epochs=2, val_interval=2)
        cfg.train_dataloader.num_workers = cfg.val_dataloader.num_workers = 2
        found = {}
        for method in ('fork', 'spawn', 'forkserver'):
            cfg.env_cfg.mp_cfg.mp_start_method = method
            cfg.work_dir = str(tmp_path / method)
            losses, runner = self.train(cfg, build_runner)
            found[method] = losses, runner.message_hub.get_scalar('val/coco/bbox_mAP').current()
            assert multiprocessing.get_start_method() == method
        assert found['spawn'] == found['fork'] and found['forkserver'] == found['fork']

    def test_validation_changes_nothing(self, cfg, build_runner, tmp_path):
        cfg.train_cfg.max_epochs = 2
        losses, _ = self.train(cfg, build_runner)
        assert len(losses) == 8
        cfg.work_dir = str(tmp_path / 'without')
        cfg.train_cfg.val_interval = 100
        assert self.train(cfg, build_runner)[0] == losses

    def test_checkpoints_load_safely(self, cfg, build_runner, tmp_path):
        cfg.train_cfg.max_epochs = 1
        _, runner = self.train(cfg, build_runner)
        checkpoint = torch.load(f'{cfg.work_dir}/epoch_1.pth', weights_only=True)
        assert {'meta', 'state_dict', 'optimizer', 'param_schedulers', 'message_hub', 'random_state'} <= set(checkpoint)
        assert checkpoint['meta']['dataset_meta']['classes'] == runner.train_dataloader.dataset.metainfo['classes']
        # A test gives what the run's own validation gave.
        expected = runner.message_hub.get_scalar('val/coco/bbox_mAP').current()
        cfg.load_from = f'{cfg.work_dir}/epoch_1.pth'
        assert build_runner(cfg).test()['coco/bbox_mAP'] == pytest.approx(expected)

    @pytest.mark.parametrize(
        ('evaluator', 'best'),
        [
            (dict(classwise=True), 'coco_bbox_mAP'),
            (dict(_delete_=True, type='VOCMetric'), 'pascal_voc_mAP'),
        ],
    )
    def test_best_of_all_classes(self, cfg, build_runner, evaluator, best):
        cfg.train_cfg.max_epochs = 1
        cfg.default_hooks.checkpoint.save_best = 'auto'
        cfg.merge_from_dict(dict(val_evaluator=evaluator))
        self.train(cfg, build_runner)
        assert (Path(cfg.work_dir) / f'best_{best}_epoch_1.pth').exists()

    @pytest.mark.parametrize('save_best', ['bbox_mAP', ['coco/bbox_mAP', 'coco/segm_mAP'], 'pascal_voc/mAP'])
    def test_best_of_unknown_metric_is_refused(self, cfg, build_runner, save_best):
        """Before the first iteration, with the keys that there are."""
        cfg.default_hooks.checkpoint.save_best = save_best
        runner = build_runner(cfg)
        with pytest.raises(ValueError, match=r"save_best='[a-z_/]*mAP': .* coco/bbox_mAP, coco/bbox_mAP_50, "):
            runner.train()
        assert runner.iter == 0

    def test_moved_work_dir_is_resumed(self, cfg, build_runner, tmp_path):
        """As by `--resume` without a file; its errors name the file."""
        cfg.train_cfg.max_epochs = 1
        self.train(cfg, build_runner)
        moved = tmp_path / 'moved'
        Path(cfg.work_dir).rename(moved)
        cfg.work_dir, cfg.resume, cfg.train_cfg.max_epochs = str(moved), True, 2
        losses, _ = self.train(cfg, build_runner)
        assert sorted(losses) == [4, 5, 6, 7] and (moved / 'last_checkpoint').read_text() == f'{moved}/epoch_2.pth'
        torch.save(dict(state_dict={}), moved / 'epoch_2.pth')
        with pytest.raises(ValueError, match=f'^{moved}/epoch_2.pth: this checkpoint'):
            build_runner(cfg).train()

    def test_best_checkpoints_are_not_resumed_from(self, cfg, build_runner, tmp_path):
        cfg.train_cfg.max_epochs = 1
        cfg.default_hooks.checkpoint.save_best = 'coco/bbox_mAP'
        self.train(cfg, build_runner)
        best = f'{cfg.work_dir}/best_coco_bbox_mAP_epoch_1.pth'
        bare = tmp_path / 'bare.pth'
        torch.save(torch.load(best, weights_only=True)['state_dict'], bare)
        cfg.train_cfg.max_epochs, cfg.resume = 2, True
        for cfg.load_from, missing in ((best, 'optimizer and no param_schedulers'), (str(bare), 'meta and no mess')):
            with pytest.raises(ValueError, match=f'^{cfg.load_from}: this checkpoint has no {missing}'):
                build_runner(cfg).train()

    def test_checkpoints_of_other_models(self, cfg, build_runner, tmp_path):
        cfg.train_cfg.max_epochs = 1
        self.train(cfg, build_runner)
        cfg.load_from = f'{cfg.work_dir}/epoch_1.pth'

        deeper = copy.deepcopy(cfg)
        deeper.model.backbone.stage_repeats = (2, 4, 1)
        with pytest.raises(ValueError, match=r'epoch_1.pth: .* keys are missing \(backbone.stages.1.2.branch.0'):
            build_runner(deeper).test()
        # Found in the work directory, as by `--resume` without a file.
        deeper.resume, deeper.load_from = True, None
        with pytest.raises(ValueError, match='epoch_1.pth: this checkpoint is of another architecture'):
            build_runner(deeper).train()
        other = copy.deepcopy(cfg)
        other.model.backbone = dict(type='ResNet', depth=18, out_indices=(2, 3))
        other.model.neck.in_channels = [256, 512]
        with pytest.raises(ValueError, match='another architecture'):
            build_runner(other).train()

        # Fine-tuning for other classes keeps everything but the classifier.
        classes = ('circle', 'square')
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            loader.dataset.metainfo = dict(classes=classes)
        cfg.model.roi_head.bbox_head.num_classes = 2
        cfg.work_dir = str(tmp_path / 'fine-tuned')
        losses, _ = self.train(cfg, build_runner)
        assert len(losses) == 4
