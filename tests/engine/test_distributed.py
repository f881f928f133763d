"""Two processes with gloo against one process.

mmdet averages the RPN's and the head's losses over the anchors and RoIs that a process has sampled, and
DistributedDataParallel averages the gradients of the processes. So two processes compute what one computes on all of
the images if each has sampled as many of them, which is so while every image yields the number that its sampler asks
for. (An image without a positive anchor counts one anchor more in mmdet.) What remains different is the order of
summing up, what is drawn at random, and batch norm, which on CPU sees each process's own images.
"""

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Callable, List

import pytest
import torch
from mmdet.models import TwoStageDetector
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from torch import multiprocessing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks processes')]


@OPTIM_WRAPPERS.register_module(force=True)
class RecordingOptimWrapper(OptimWrapper):
    """Keeps the gradients of each step, as they are before clipping."""

    def step(self, **kwargs) -> None:
        groups = self.optimizer.param_groups
        self.gradients = [*getattr(self, 'gradients', []), [p.grad.clone() for g in groups for p in g['params']]]
        super().step(**kwargs)


class LossRecorder(Hook):
    """Keeps the losses of each step."""

    def __init__(self) -> None:
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append({name: value.item() for name, value in outputs.items() if name.startswith('loss')})


def start_two(function: Callable[[int], None]) -> multiprocessing.ProcessContext:
    """Start a function of the rank in two forks of this process, in the environment that a launcher makes."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]

    def run(rank: int) -> None:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port)
        )
        torch.set_num_threads(1)  # a fork has none of the other threads
        function(rank)

    return multiprocessing.start_processes(run, nprocs=2, join=False, start_method='fork')


def run_two(function: Callable[[int], None]) -> None:
    """Run a function of the rank in two processes."""
    context, end = start_two(function), time.time() + 120
    while not context.join(timeout=5):
        assert time.time() < end, 'hangs'


@pytest.fixture
def cfg(tiny_cfg):
    """Two steps with the same four images, all of one size, and nothing drawn at random."""
    model = tiny_cfg.model
    loader = tiny_cfg.train_dataloader
    loader.update(num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    loader.dataset.update(filter_cfg=dict(filter_empty_gt=True), indices=4)
    loader.dataset.pipeline = [step for step in loader.dataset.pipeline if step.type != 'RandomFlip']
    # Every anchor counts, and each object has one.
    model.train_cfg.rpn.assigner.update(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0)
    model.train_cfg.rpn.sampler.num = 10**6
    # Of each image, the 16 RoIs with the largest loss.
    model.train_cfg.rcnn.sampler = dict(type='OHEMSampler', num=16, pos_fraction=0.25, add_gt_as_proposals=True)
    tiny_cfg.optim_wrapper = dict(type='RecordingOptimWrapper', optimizer=dict(type='SGD', lr=0.01))
    tiny_cfg.param_scheduler = None
    tiny_cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
    tiny_cfg.val_cfg = tiny_cfg.val_dataloader = tiny_cfg.val_evaluator = None
    return tiny_cfg


def train(cfg, build_runner) -> dict:
    runner, recorder = build_runner(cfg), LossRecorder()
    runner.register_hook(recorder)
    runner.train()
    model = getattr(runner.model, 'module', runner.model)
    return dict(losses=recorder.losses, gradients=runner.optim_wrapper.gradients, weights=model.state_dict())


def relative_error(found: List[torch.Tensor], expected: List[torch.Tensor]) -> float:
    """The largest difference in all tensors, relative to the largest value of all."""
    largest = max(value.abs().max() for value in expected)
    return max((a - b).abs().max() / largest for a, b in zip(found, expected)).item()


@pytest.mark.parametrize('norm', ['GN', 'BN'])
def test_two_processes_train_as_one(cfg, build_runner, tmp_path, norm):
    norm_cfg = dict(type='GN', num_groups=1) if norm == 'GN' else dict(type='SyncBN')
    for part in (cfg.model.backbone, cfg.model.rpn_head, cfg.model.sam):
        part.norm_cfg = norm_cfg
    cfg.train_dataloader.batch_size = 4
    expected = train(cfg, build_runner)
    assert len(expected['losses']) == 2

    cfg.train_dataloader.batch_size = 2
    cfg.launcher = 'pytorch'
    cfg.work_dir = str(tmp_path / 'two')
    run_two(lambda rank: torch.save(train(cfg, build_runner), tmp_path / f'{rank}.pth'))
    ranks = [torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1)]
    for key, value in ranks[0]['weights'].items():
        if 'running' not in key:
            assert torch.equal(value, ranks[1]['weights'][key]), key
    losses = [
        {name: (first[name] + second[name]) / 2 for name in first}
        for first, second in zip(*(rank['losses'] for rank in ranks))
    ]
    errors = [relative_error(*gradients) for gradients in zip(ranks[0]['gradients'], expected['gradients'])]
    if norm == 'GN':
        assert losses == [pytest.approx(values, rel=1e-5) for values in expected['losses']]
        assert max(errors) < 1e-5
    else:
        # Each process normalises its own two images.
        assert min(errors) > 0.01


def shifted_truth(self, batch_inputs, batch_data_samples, rescale=True) -> list:
    """Stands for a detector's predictions: the annotations, shifted by an image's number in pixels."""
    for sample in batch_data_samples:
        truth, shift = sample.gt_instances, sample.img_id % 4
        scores = torch.linspace(0.9, 0.5, len(truth)) - 0.1 * shift
        sample.pred_instances = InstanceData(bboxes=truth.bboxes + 2 * shift, labels=truth.labels, scores=scores)
    return batch_data_samples


@pytest.mark.parametrize('images', [4, 3])
def test_two_processes_test_as_one(tiny_cfg, build_runner, monkeypatch, tmp_path, images):
    """Also if one process has an image more than the other."""
    monkeypatch.setattr(TwoStageDetector, 'predict', shifted_truth)
    tiny_cfg.test_dataloader.update(batch_size=1, num_workers=0)
    tiny_cfg.test_dataloader.dataset.indices = images
    expected = build_runner(tiny_cfg).test()
    assert 0.1 < expected['coco/bbox_mAP'] < 0.9

    tiny_cfg.launcher = 'pytorch'
    tiny_cfg.work_dir = str(tmp_path / 'two')

    def test(rank: int) -> None:
        (tmp_path / f'{rank}.json').write_text(json.dumps(build_runner(tiny_cfg).test()))

    run_two(test)
    for rank in (0, 1):
        assert (tmp_path / f'{rank}.json').read_text() == json.dumps(expected)


def test_a_killed_process_ends_the_other(cfg, build_runner, tmp_path):
    """Without a launcher that would end it: it sees the closed connection."""
    cfg.train_dataloader.batch_size = 2
    cfg.train_cfg.max_epochs = 10**6
    cfg.default_hooks.checkpoint.interval = 10**6
    cfg.launcher = 'pytorch'

    class Touch(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            (tmp_path / str(runner.rank)).touch()

    def train(rank: int) -> None:
        runner = build_runner(cfg)
        runner.register_hook(Touch())
        runner.train()

    context = start_two(train)
    try:
        end = time.time() + 100
        while not all((tmp_path / str(rank)).exists() for rank in (0, 1)):
            assert time.time() < end, 'does not start'
            time.sleep(0.05)
        os.kill(context.processes[1].pid, signal.SIGKILL)
        context.processes[0].join(60)
        assert context.processes[0].exitcode == 1
        assert 'by peer' in Path(context.error_files[0]).read_bytes().decode(errors='replace')
    finally:
        for process in context.processes:
            process.kill()
