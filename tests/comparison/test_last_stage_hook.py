"""Tests of the hook that changes the last iterations."""

from types import SimpleNamespace

import pytest
from mmengine.logging import MMLogger
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmthunder.engine.hooks import LastStageHook


class Numbers(Dataset):
    """Items that a pipeline makes of indices."""

    def pipeline(self, index: int) -> str:
        return f'first {index}'

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> str:
        return self.pipeline(index)


def make_runner(workers: int, done: int = 0) -> SimpleNamespace:
    loader = DataLoader(Numbers(), num_workers=workers, persistent_workers=workers > 0)
    model = nn.Module()
    model.bbox_head = nn.Module()
    model.bbox_head.use_l1 = False
    loop = SimpleNamespace(dataloader_iterator=SimpleNamespace(_iterator=iter(loader)))
    return SimpleNamespace(
        iter=done, model=model, train_dataloader=loader, train_loop=loop, logger=MMLogger.get_current_instance()
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
