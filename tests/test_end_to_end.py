"""Real `mim` commands on data sets of a few small images."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Iterator

import cv2
import mmengine
import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import MODELS
from mmengine.config import Config

MIM = Path(sys.executable).with_name('mim')
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not MIM.exists(), reason='needs mim beside the interpreter')]


@contextmanager
def start_mim(repo: Path, command: str, package: str, *args) -> Iterator[subprocess.Popen]:
    """Start mim from the repository's root; at the end of the context it ends, if it has not."""
    # mim takes the name of the distribution; those of the OneDL forks differ from their packages'.
    process = subprocess.Popen(
        [str(MIM), command, packages_distributions()[package][0], *map(str, args)],
        cwd=repo,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # mim starts processes of its own, which would outlive it; torch's launcher ends its own on SIGTERM.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def mim(repo: Path, *args) -> str:
    """Run mim; returns what it printed."""
    with start_mim(repo, *args) as process:
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-5000:]
    return output


def data_options(root: Path, val_file: str) -> list:
    """Point every data loader and evaluator of a config to a folder."""
    return [
        *(f'{split}_dataloader.dataset.data_root={root}/' for split in ('train', 'val', 'test')),
        *(f'{split}_evaluator.ann_file={root}/annotations/{val_file}' for split in ('val', 'test')),
    ]


def load(checkpoint: Path) -> dict:
    return torch.load(checkpoint, weights_only=True)


def log_of(work_dir: Path) -> str:
    return ''.join(path.read_text() for path in sorted(work_dir.glob('*/*.log')))


@pytest.fixture(scope='module')
def trained(repo, shapes, tmp_path_factory) -> tuple:
    """One epoch of two iterations; its folder and the options that point to the data."""
    work_dir = tmp_path_factory.mktemp('trained')
    options = data_options(shapes, 'val.json') + ['train_dataloader.batch_size=4', 'train_cfg.val_interval=1']
    mim(
        repo,
        'train',
        'mmdet',
        'configs/thundernet/thundernet_snet49_1xb8-5e_shapes.py',
        '--work-dir',
        work_dir,
        '--cfg-options',
        *options,
        'train_cfg.max_epochs=1',
    )
    return work_dir, options


def test_train(trained):
    work_dir, _ = trained
    checkpoint = load(work_dir / 'epoch_1.pth')
    assert (checkpoint['meta']['epoch'], checkpoint['meta']['iter']) == (1, 2)
    assert checkpoint['meta']['dataset_meta']['classes'] == ('circle', 'square', 'triangle', 'star', 'cross', 'ring')
    assert all(value.isfinite().all() for value in checkpoint['state_dict'].values())
    assert 'coco/bbox_mAP_50' in log_of(work_dir)


def test_test(repo, trained, tmp_path):
    """The AP is the one of the training's own validation, detections are drawn, and two processes find the same."""
    work_dir, options = trained
    (scalars,) = work_dir.glob('*/vis_data/scalars.json')
    expected = json.loads(scalars.read_text().splitlines()[-1])
    found = []
    for name, launcher in (('one', ()), ('two', ('--launcher', 'pytorch', '-G', 2))):
        mim(
            repo,
            'test',
            'mmdet',
            'configs/thundernet/thundernet_snet49_1xb8-5e_shapes.py',
            '--checkpoint',
            work_dir / 'epoch_1.pth',
            *launcher,
            '--work-dir',
            tmp_path / name,
            '--show-dir',
            'pictures',
            '--out',
            tmp_path / f'{name}.pkl',
            '--cfg-options',
            *options,
        )
        (result,) = tmp_path.glob(f'{name}/*/*.json')
        assert json.loads(result.read_text())['coco/bbox_mAP_50'] == expected['coco/bbox_mAP_50']
        found.append({image['img_id']: image['pred_instances'] for image in mmengine.load(tmp_path / f'{name}.pkl')})
    assert {path.name for path in tmp_path.glob('one/*/pictures/*')} == {f'{i:06d}.jpg' for i in range(4)}
    one, two = found
    assert len(one) == len(two) == 4 and all(len(instances['scores']) for instances in one.values())
    for image, instances in one.items():
        torch.testing.assert_close(two[image], instances)


def test_resume(repo, trained):
    work_dir, options = trained
    mim(
        repo,
        'train',
        'mmdet',
        'configs/thundernet/thundernet_snet49_1xb8-5e_shapes.py',
        '--work-dir',
        work_dir,
        '--resume',
        '--cfg-options',
        *options,
        'train_cfg.max_epochs=2',
    )
    assert 'resumed epoch: 1, iter: 2' in log_of(work_dir)
    checkpoint = load(work_dir / 'epoch_2.pth')
    assert (checkpoint['meta']['epoch'], checkpoint['meta']['iter']) == (2, 4)


@pytest.fixture
def coco(tmp_path) -> Path:
    """Six images in COCO's layout, with COCO's 80 categories."""
    root, rng = tmp_path / 'coco', np.random.default_rng(0)
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(CocoDataset.METAINFO['classes'])]
    (root / 'annotations').mkdir(parents=True)
    for split, count in (('train', 4), ('val', 2)):
        (root / f'{split}2017').mkdir()
        images, annotations = [], []
        for i in range(count):
            cv2.imwrite(str(root / f'{split}2017/{i}.jpg'), rng.integers(0, 255, (80, 100, 3), dtype=np.uint8))
            images.append(dict(id=i, file_name=f'{i}.jpg', height=80, width=100))
            annotations.append(
                dict(id=i + 1, image_id=i, category_id=10 * i + 1, bbox=[10, 5, 60, 50], area=3000, iscrowd=0)
            )
        data = dict(images=images, annotations=annotations, categories=categories)
        (root / f'annotations/instances_{split}2017.json').write_text(json.dumps(data))
    return root


def process_of_rank(rank: int, work_dir: Path) -> int:
    """Find the training process of a rank, which is older than its data workers."""
    for number in sorted(int(path.name) for path in Path('/proc').glob('[0-9]*')):
        try:
            words = Path(f'/proc/{number}/cmdline').read_text().split('\0')
            environment = Path(f'/proc/{number}/environ').read_text().split('\0')
        except OSError:  # it has ended, or is another user's
            continue
        if str(work_dir) in words and f'RANK={rank}' in environment:
            return number
    raise ProcessLookupError(f'rank {rank}')


@pytest.mark.skipif(not Path('/proc/self/environ').exists(), reason='finds processes in /proc')
def test_two_processes(repo, coco, tmp_path):
    """The COCO recipe with synchronised batch norm on two processes, which have no GPU here, until one is killed."""
    work_dir, validations = tmp_path / 'work', []
    with start_mim(
        repo,
        'train',
        'mmdet',
        'configs/thundernet/thundernet_snet49_4xb16-375k_coco.py',
        '--launcher',
        'pytorch',
        '-G',
        2,
        '--work-dir',
        work_dir,
        '--cfg-options',
        *data_options(coco, 'instances_val2017.json'),
        'train_cfg.val_interval=2',
        'default_hooks.checkpoint.interval=2',
        'default_hooks.checkpoint.max_keep_ckpts=-1',
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=1',
        'val_dataloader.num_workers=1',
    ) as job:
        end = time.time() + 600
        while not validations:
            assert time.time() < end and job.poll() is None, job.communicate(timeout=60)[0][-5000:]
            time.sleep(0.1)
            texts = [path.read_text() for path in work_dir.glob('*/vis_data/scalars.json')]
            lines = [line for text in texts for line in text.splitlines(keepends=True)]
            logged = [json.loads(line) for line in lines if line.endswith('\n')]
            validations = [values for values in logged if 'loss' not in values]
        os.kill(process_of_rank(1, work_dir), signal.SIGKILL)
        # The job ends, with an error, and so do all of its processes, which have this pipe.
        output, _ = job.communicate(timeout=120)
        assert job.returncode != 0
        assert 'Signal 9 (SIGKILL)' in output
    log = log_of(work_dir)
    assert 'Distributed training: True' in log and 'GPU number: 2' in log
    if not torch.cuda.is_available():
        assert 'SyncBN needs a GPU' in output
    assert 'Iter(val)' in log
    assert validations[0]['step'] == 2
    checkpoint = load(work_dir / 'iter_2.pth')
    assert checkpoint['meta']['iter'] == 2
    assert all(value.isfinite().all() for value in checkpoint['state_dict'].values())


@pytest.fixture
def imagenet(tmp_path) -> Path:
    """Three classes of a few images in ImageNet's layout."""
    root, rng = tmp_path / 'imagenet', np.random.default_rng(0)
    for folder, count in (('train', 4), ('val', 2)):
        for name in ('n01440764', 'n01443537', 'n01484850'):
            (root / folder / name).mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 255, (80, 100, 3), dtype=np.uint8)
                cv2.imwrite(str(root / folder / name / f'{name}_{i}.JPEG'), image)
    return root


def test_pretraining(repo, imagenet, tmp_path):
    """Through mmpretrain, batch norm's last statistics included; the detector's backbone then loads every tensor."""
    pytest.importorskip('mmpretrain', reason='needs mmpretrain')
    work_dir = tmp_path / 'work'
    options = [
        'model.head.num_classes=3',
        'model.head.loss.num_classes=3',
        'val_evaluator.topk=1',
        'train_cfg.max_iters=3',
        'train_cfg.val_interval=3',
        'param_scheduler.0.end=3',
        'default_hooks.checkpoint.interval=3',
        'default_hooks.logger.interval=1',
        'custom_hooks.0.interval=3',
        'custom_hooks.0.num_samples=8',
        'train_dataloader.dataset.pipeline.1.scale=64',
        'val_dataloader.dataset.pipeline.2.crop_size=64',
    ]
    for loader in ('train_dataloader', 'val_dataloader'):
        options += [
            f'{loader}.batch_size=4',
            f'{loader}.num_workers=1',
            f'{loader}.dataset.data_root={imagenet}',
            f'{loader}.dataset.metainfo.classes=tench,goldfish,shark',
        ]
    mim(
        repo,
        'train',
        'mmpretrain',
        'configs/pretrain/snet146_8xb64-300k_in1k.py',
        '--work-dir',
        work_dir,
        '--cfg-options',
        *options,
    )
    log = log_of(work_dir)
    assert 'Running Precise BN for 8 samples' in log and 'accuracy/top1' in log
    (scalars,) = work_dir.glob('*/vis_data/scalars.json')
    rates = [json.loads(line)['lr'] for line in scalars.read_text().splitlines() if 'lr' in line]
    assert rates == pytest.approx([0.5, 0.25, 0.0])

    checkpoint = work_dir / 'iter_3.pth'
    state = load(checkpoint)['state_dict']
    cfg = Config.fromfile(repo / 'configs/thundernet/thundernet_snet146_4xb16-375k_coco.py')
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(checkpoint), prefix='backbone.')
    detector = MODELS.build(cfg.model)
    detector.init_weights()
    loaded = detector.backbone.state_dict()
    assert len(loaded) == 330 == len([key for key in state if key.startswith('backbone.')])
    assert [key for key, value in loaded.items() if not torch.equal(value, state[f'backbone.{key}'])] == []
