"""Tests of the hook that changes the last iterations."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.dataset import BaseDataset, InfiniteSampler
from mmengine.logging import MMLogger
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmthunder.engine.hooks import LastStageHook
from mmthunder.engine.hooks.left_out_images_hook import LeftOutImagesHook


class Numbers(Dataset):
    """Items that a pipeline makes of indices."""

    def pipeline(self, index: int) -> str:
        return f'first {index}'

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> str:
        return self.pipeline(index)


def make_runner(workers: int, done: int = 0) -> SimpleNamespace:
    sampler = InfiniteSampler(Numbers(), seed=0)
    loader = DataLoader(Numbers(), sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
    model = nn.Module()
    model.bbox_head = nn.Module()
    model.bbox_head.use_l1 = False
    loop = SimpleNamespace(dataloader_iterator=SimpleNamespace(_iterator=iter(loader)))
    return SimpleNamespace(
        iter=done,
        model=model,
        train_dataloader=loader,
        train_loop=loop,
        logger=MMLogger.get_current_instance(),
        hooks=[],
    )


@pytest.mark.parametrize('workers', [0, 1])
def test_switch(workers, monkeypatch):
    monkeypatch.setattr('mmthunder.engine.hooks.last_stage_hook.Compose', lambda steps: lambda index: f'last {index}')
    runner, hook = make_runner(workers), LastStageHook(begin=2, pipeline=[])
    hook.before_train(runner)
    seen = []
    for runner.iter in range(4):
        seen.append(next(runner.train_loop.dataloader_iterator._iterator)[0].split()[0])
        assert runner.model.bbox_head.use_l1 == (runner.iter >= 2)
        hook.after_train_iter(runner)
    assert seen == ['first', 'first', 'last', 'last']


def test_resumed_in_it():
    runner, hook = make_runner(0, done=5), LastStageHook(begin=2)
    hook.before_train(runner)
    assert runner.model.bbox_head.use_l1


class Photographs(BaseDataset):
    """One photograph, of which mmcv's loader makes nothing where OpenCV does not read a part of a file."""

    def load_data_list(self) -> list:
        return [dict(img_path=self.ann_file)]


def test_images_that_are_cut_off(tmp_path):
    """The new pipeline's loader reads them as the one of the former pipeline does."""
    path = tmp_path / 'cut_off.jpg'
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path.write_bytes(cv2.imencode('.jpg', noise)[1].tobytes()[:-500])
    steps = [dict(type='LoadImageFromFile')]
    runner, hook = make_runner(0), LastStageHook(begin=1, pipeline=steps)
    dataset = Photographs(ann_file=str(path), pipeline=steps)
    runner.train_dataloader = DataLoader(dataset, collate_fn=lambda items: items)
    runner.hooks = [LeftOutImagesHook(0, [], skip_unreadable=True)]
    runner.hooks[0].before_train_epoch(runner)
    hook.after_train_iter(runner)
    assert next(runner.train_loop.dataloader_iterator._iterator)[0]['img'].shape == (64, 64, 3)
    assert [loader.skip_unreadable for loader in runner.hooks[0].loaders] == [True, True]
