import itertools
import os
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Dict, Iterator, Optional

import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmdet.registry import HOOKS
from mmengine.evaluator import BaseMetric, DumpResults, Evaluator
from mmengine.fileio import LocalBackend
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import find_latest_checkpoint, save_checkpoint

from mmthunder.engine.work_dir import latest_checkpoint


class FolderRunner:
    """What the hook needs of a runner; its checkpoints have the epoch and the message hub in them."""

    def __init__(self, work_dir: Path, checkpoint: Optional[dict] = None) -> None:
        self.work_dir = str(work_dir)
        self.logger = MMLogger.get_current_instance()
        self.message_hub = MessageHub(f'hub of {work_dir}')
        self.epoch = self.iter = 0
        self.val_loop = None
        if checkpoint is not None:
            self.epoch = checkpoint['meta']['epoch']
            self.message_hub.load_state_dict(checkpoint['message_hub'])

    def save_checkpoint(self, out_dir: str, filename: str, file_client_args=None, *, meta, backend_args, **kwargs):
        weights = torch.full((1000,), meta['epoch'])
        state = dict(meta=meta, message_hub=self.message_hub.state_dict(), weights=weights)
        save_checkpoint(state, f'{out_dir}/{filename}', file_client_args, backend_args)


def train(work_dir: Path, max_epochs: int, checkpoint: Optional[dict] = None, **hook_cfg) -> None:
    """Count epochs, with a checkpoint after each and a validation that gives more each time, in AP and in AR."""
    runner = FolderRunner(work_dir, checkpoint)
    hook = HOOKS.build(dict(dict(type='AtomicCheckpointHook', interval=1), **hook_cfg))
    hook.before_train(runner)
    while runner.epoch < max_epochs:
        hook.after_train_epoch(runner)
        runner.epoch += 1
        hook.after_val_epoch(runner, dict(AP=runner.epoch, AR=runner.epoch))


def load(path: Path) -> dict:
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint['weights'].tolist() == [checkpoint['meta']['epoch']] * 1000
    return checkpoint


def load_all(work_dir: Path) -> Dict[int, dict]:
    """Load all checkpoints, by epoch."""
    return {int(path.stem[6:]): load(path) for path in work_dir.glob('epoch_*.pth')}


def names(work_dir: Path) -> list:
    return sorted(path.name for path in work_dir.iterdir())


@pytest.mark.parametrize(('keep', 'kept'), [(-1, [1, 2, 3, 4]), (1, [4]), (3, [2, 3, 4])])
def test_keeps_the_last_ones(tmp_path, keep, kept):
    train(tmp_path, 4, max_keep_ckpts=keep)
    assert names(tmp_path) == [*(f'epoch_{i}.pth' for i in kept), 'last_checkpoint']
    assert find_latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_4.pth')
    load_all(tmp_path)


def test_resuming_with_fewer_to_keep(tmp_path):
    train(tmp_path, 3, max_keep_ckpts=3)
    train(tmp_path, 4, load(tmp_path / 'epoch_3.pth'), max_keep_ckpts=2)
    assert names(tmp_path) == ['epoch_3.pth', 'epoch_4.pth', 'last_checkpoint']


def test_the_same_step_twice(tmp_path):
    """As mmengine does when a validation gives the best result so far."""
    train(tmp_path, 2, max_keep_ckpts=1, save_best='AP', rule='greater')
    assert names(tmp_path) == ['best_AP_epoch_2.pth', 'epoch_2.pth', 'last_checkpoint']
    assert load(tmp_path / 'epoch_2.pth')['message_hub']['runtime_info']['best_score'] == 2


@pytest.mark.parametrize('keys', [['AP'], ['AP', 'AR']])
def test_best_checkpoints(tmp_path, keys):
    """A worse result changes nothing, the same epoch once more replaces the file, a better one removes it."""
    runner = FolderRunner(tmp_path)
    hook = HOOKS.build(dict(type='AtomicCheckpointHook', save_best=keys, rule='greater'))
    hook.before_train(runner)
    for epoch, score, best in ((1, 5, 1), (1, 6, 1), (2, 3, 1), (3, 4, 1), (4, 7, 4), (5, 7, 4), (6, 8, 6)):
        runner.epoch = epoch
        hook.after_val_epoch(runner, dict(AP=score, AR=score))
        assert names(tmp_path) == [f'best_{key}_epoch_{best}.pth' for key in keys]
    # Each metric for itself.
    hook.after_val_epoch(runner, dict(AP=9, AR=0))
    runner.epoch = 7
    hook.after_val_epoch(runner, dict(AP=0, AR=9))
    assert names(tmp_path) == ['best_AP_epoch_6.pth', *(['best_AR_epoch_7.pth'] if 'AR' in keys else [])]


def snapshot(directory: Path) -> dict:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize('keys', [['AP'], ['AP', 'AR']])
@pytest.mark.parametrize('moved', [False, True])
def test_moved_or_copied(tmp_path, keys, moved):
    """A copy that is resumed replaces its own checkpoints and leaves those of the original."""
    options = dict(max_keep_ckpts=2, save_best=keys, rule='greater')
    original, copy = tmp_path / 'original', tmp_path / 'copy'
    train(original, 3, **options)
    before = snapshot(original)
    shutil.copytree(original, copy)
    if moved:
        shutil.rmtree(original)
    assert latest_checkpoint(str(copy)) == str(copy / 'epoch_3.pth')
    train(copy, 4, load(copy / 'epoch_3.pth'), **options)
    best = [f'best_{key}_epoch_4.pth' for key in keys]
    assert names(copy) == [*best, 'epoch_3.pth', 'epoch_4.pth', 'last_checkpoint']
    assert not original.exists() if moved else snapshot(original) == before
    info = load(copy / 'epoch_4.pth')['message_hub']['runtime_info']
    recorded = {path for key, path in info.items() if key == 'last_ckpt' or key.startswith('best_ckpt')}
    assert recorded == {str(copy / 'epoch_4.pth'), *(str(copy / name) for name in best)}


def test_resumed_in_another_directory(tmp_path):
    """From a checkpoint given by its path: what is not in the new directory is not the run's to remove."""
    options = dict(max_keep_ckpts=1, save_best='AP', rule='greater')
    train(tmp_path / 'old', 2, **options)
    before = snapshot(tmp_path / 'old')
    runner = FolderRunner(tmp_path / 'new', load(tmp_path / 'old/epoch_2.pth'))
    HOOKS.build(dict(type='AtomicCheckpointHook', **options)).before_train(runner)
    assert not {'best_ckpt', 'last_ckpt'} & set(runner.message_hub.runtime_info)
    train(tmp_path / 'new', 3, load(tmp_path / 'old/epoch_2.pth'), **options)
    assert snapshot(tmp_path / 'old') == before
    assert names(tmp_path / 'new') == ['best_AP_epoch_3.pth', 'epoch_3.pth', 'last_checkpoint']


@pytest.mark.parametrize('recorded', ['D:\\runs\\a\\epoch_1.pth', '/elsewhere/a/epoch_1.pth', 'epoch_1.pth'])
def test_latest_checkpoint(tmp_path, recorded):
    """Found beside last_checkpoint, whichever system the path was written on."""
    (tmp_path / 'last_checkpoint').write_text(recorded)
    with pytest.raises(FileNotFoundError, match='last_checkpoint: .*epoch_1.pth.*--resume'):
        latest_checkpoint(str(tmp_path))
    (tmp_path / 'epoch_1.pth').touch()
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_1.pth')


def test_no_latest_checkpoint(tmp_path):
    assert latest_checkpoint(str(tmp_path)) is None


def test_sharded_checkpoints_are_removed(tmp_path):
    """DeepSpeed's are directories."""
    train(tmp_path, 1, max_keep_ckpts=1)
    checkpoint = load(tmp_path / 'epoch_1.pth')
    (tmp_path / 'epoch_1.pth').unlink()
    (tmp_path / 'epoch_1.pth/shards').mkdir(parents=True)
    train(tmp_path, 2, checkpoint, max_keep_ckpts=1)
    assert names(tmp_path) == ['epoch_2.pth', 'last_checkpoint']


class OwnMetric(BaseMetric):
    """Of a user; only an evaluation can tell its keys."""

    def process(self, data_batch, data_samples) -> None:
        pass

    def compute_metrics(self, results: list) -> dict:
        return {}


@pytest.mark.parametrize(
    ('metrics', 'resolved'),
    [
        ([CocoMetric(metric='segm', classwise=True)], 'coco/segm_mAP'),
        ([DumpResults('x.pkl'), CocoMetric(prefix='a')], 'a/bbox_mAP'),
        ([OwnMetric(), CocoMetric()], 'auto'),  # mmengine takes the first key of the first results
        ([DumpResults('x.pkl')], 'auto'),
    ],
)
def test_auto(tmp_path, metrics, resolved):
    runner = FolderRunner(tmp_path)
    runner.val_loop = SimpleNamespace(evaluator=Evaluator(metrics))
    runner.val_loop.evaluator.dataset_meta = dict(classes=('cat', 'dog'))
    hook = HOOKS.build(dict(type='AtomicCheckpointHook', save_best='auto'))
    hook.before_train(runner)
    assert hook.key_indicators == [resolved]
    assert hook.rules == ([None] if resolved == 'auto' else ['greater'])


@pytest.mark.parametrize(
    ('prefix', 'key', 'refused'),
    [
        (None, 'anything', False),
        ('own', 'own/anything', False),
        ('own', 'anything', True),
        ('own', 'coco/dog_precision', False),
        ('own', 'coco/cow_precision', True),
    ],
)
def test_keys_of_save_best(tmp_path, prefix, key, refused):
    runner = FolderRunner(tmp_path)
    runner.val_loop = SimpleNamespace(evaluator=Evaluator([OwnMetric(prefix=prefix), CocoMetric(classwise=True)]))
    runner.val_loop.evaluator.dataset_meta = dict(classes=('cat', 'dog'))
    hook = HOOKS.build(dict(type='AtomicCheckpointHook', save_best=key, rule='greater'))
    if refused:
        with pytest.raises(ValueError, match=rf"save_best='{key}': .* coco/bbox_mAP, .*own/\*"):
            hook.before_train(runner)
    else:
        hook.before_train(runner)


def test_half_written_files_are_removed(tmp_path):
    (tmp_path / '.1-epoch_7.pth.partial').mkdir()
    (tmp_path / '.1-epoch_7.pth.partial/epoch_7.pth').write_bytes(b'PK')
    train(tmp_path, 1)
    assert names(tmp_path) == ['epoch_1.pth', 'last_checkpoint']


def test_another_folder(tmp_path):
    """mmengine makes a folder of the run's name there; the run's own names the last checkpoint."""
    train(tmp_path / 'run', 1, out_dir=str(tmp_path / 'out'))
    assert names(tmp_path / 'out/run') == ['epoch_1.pth']
    assert latest_checkpoint(str(tmp_path / 'run')) == str(tmp_path / 'out/run/epoch_1.pth')


def test_other_storages_keep_their_backend(tmp_path, monkeypatch):

    class OtherBackend(LocalBackend):
        pass

    monkeypatch.setitem(sys.modules['mmengine.fileio.backends.registry_utils'].backends, 'other', OtherBackend)
    hook = HOOKS.build(dict(type='AtomicCheckpointHook', interval=1, backend_args=dict(backend='other')))
    hook.before_train(FolderRunner(tmp_path))
    assert hook.backend_args == dict(backend='other')


def die_at(operation: int, folder: Path) -> None:
    """Kill the process when it is about to create, open, rename or remove an entry of a directory for the n-th time."""
    operations = itertools.count(1)

    def audit(event: str, args: tuple) -> None:
        if event in ('open', 'os.mkdir', 'os.rename', 'os.remove', 'os.rmdir') and str(args[0]).startswith(
            f'{folder}/'
        ):
            if next(operations) == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)


def killed_trainings(tmp_path: Path, max_epochs: int, **hook_cfg) -> Iterator[tuple]:
    """Kill a training at its first, second, ... operation; gives its folder and the checkpoint to resume from."""
    for operation in itertools.count(1):
        work_dir = tmp_path / str(operation)
        work_dir.mkdir()
        child = os.fork()
        if child == 0:
            die_at(operation, work_dir)
            train(work_dir, max_epochs, **hook_cfg)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            break  # it took fewer operations
        assert os.WTERMSIG(status) == signal.SIGKILL
        last = find_latest_checkpoint(str(work_dir))
        yield work_dir, load(Path(last)) if last is not None else None


@pytest.fixture
def without_fsync(monkeypatch) -> None:
    """A kill does not need it, and it takes long."""
    monkeypatch.setattr(os, 'fsync', lambda number: None)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills forked processes')
@pytest.mark.usefixtures('without_fsync')
@pytest.mark.parametrize('keep', [1, 2])
def test_killed_at_every_operation(tmp_path, keep):
    """Whatever was about to happen to a file: nothing is lost, and resuming tidies up."""
    epochs = keep + 1
    operations, lost_work = 0, set()
    for work_dir, checkpoint in killed_trainings(tmp_path, epochs, max_keep_ckpts=keep):
        operations += 1
        checkpoints = load_all(work_dir)
        epoch = checkpoint['meta']['epoch'] if checkpoint else 0
        # A complete checkpoint counts as the last one, except in the moment before it is named.
        assert max(checkpoints, default=0) - epoch in (0, 1)
        lost_work.add(max(checkpoints, default=0) - epoch)
        assert len(checkpoints) <= keep + 1

        train(work_dir, epochs, checkpoint, max_keep_ckpts=keep)
        assert names(work_dir) == [*(f'epoch_{i}.pth' for i in range(2, epochs + 1)), 'last_checkpoint']
    # Each epoch writes a checkpoint and last_checkpoint in 6 operations each; one checkpoint is removed.
    assert operations == 12 * epochs + 1 and lost_work == {0, 1}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills forked processes')
@pytest.mark.usefixtures('without_fsync')
@pytest.mark.parametrize('keys', [['AP'], ['AP', 'AR']])
def test_killed_while_the_best_is_replaced(tmp_path, keys):
    """The best checkpoint that the last one knows of is there and whole, whenever the training was killed."""
    hook_cfg = dict(max_keep_ckpts=1, save_best=keys, rule='greater')
    seen = set()
    for work_dir, checkpoint in killed_trainings(tmp_path, 2, **hook_cfg):
        info = checkpoint['message_hub']['runtime_info'] if checkpoint else {}
        best = [Path(path) for name, path in info.items() if name.startswith('best_ckpt')]
        assert len(best) in (0, len(keys))
        for path in best:
            load(path)
        seen.add((checkpoint['meta']['epoch'] if checkpoint else 0, *(path.stem[-1] for path in best)))
        train(work_dir, 3, checkpoint, **hook_cfg)
        found = set(names(work_dir))
        assert {*(f'best_{key}_epoch_3.pth' for key in keys), 'epoch_3.pth', 'last_checkpoint'} <= found
    # The last checkpoint is written again when it is known to be the best.
    assert seen == {(0,), (1,), (1, *'1' * len(keys)), (2, *'1' * len(keys)), (2, *'2' * len(keys))}
