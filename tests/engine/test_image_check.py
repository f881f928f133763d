"""Damaged image files: found before a training starts, which does without them."""

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any, Callable, List

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mmthunder.datasets import AnnotationError, base_datasets

UNREADABLE = dict(garbage=b'not an image at all', empty=b'', header=b'\xff\xd8\xff\xe0\x00\x10JFIF', missing=None)


def damage(path: Path, content: Any) -> Path:
    path.unlink() if content is None else path.write_bytes(content)
    return path


@pytest.fixture
def root(shapes, tmp_path) -> Path:
    """The dataset in a directory of its own, in which tests break images."""
    return shutil.copytree(shapes, tmp_path / 'shapes')


@pytest.fixture
def cfg(tiny_cfg, root) -> Config:
    for loader in (tiny_cfg.train_dataloader, tiny_cfg.val_dataloader, tiny_cfg.test_dataloader):
        loader.dataset.data_root = f'{root}/'
        loader.num_workers = 0
    tiny_cfg.train_cfg.max_epochs = 1
    return tiny_cfg


@pytest.fixture
def messages(monkeypatch) -> List[str]:
    """What is logged as a warning."""
    messages: List[str] = []

    def record(self: MMLogger, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            messages.append(record.getMessage())

    monkeypatch.setattr(MMLogger, 'callHandlers', record)
    return messages


@pytest.fixture
def build(cfg, build_runner, messages) -> Callable[[], Runner]:
    """Build the runner of the config; warnings are logged."""

    def build() -> Runner:
        cfg.log_level = 'WARNING'
        return build_runner(cfg)

    return build


def paths(dataset: Any) -> List[str]:
    return [Path(base.get_data_info(i)['img_path']).name for base in base_datasets(dataset) for i in range(len(base))]


@pytest.mark.parametrize('content', UNREADABLE.values(), ids=UNREADABLE)
def test_training_does_without(cfg, build, root, messages, content):
    """Each is named at the start, and counted at the end of the epoch."""
    path = damage(root / 'train/000005.jpg', content)
    runner = build()
    runner.train()
    assert '000005.jpg' not in paths(runner.train_dataloader.dataset)
    assert len(runner.train_dataloader.dataset) == 7 and len(runner.train_dataloader) == 4
    named = [message for message in messages if str(path) in message]
    assert len(named) == 1 and '1 of 8 images are left out of training' in named[0]
    assert sum('Images left out of training: 1 files' in message for message in messages) == 1


@pytest.mark.parametrize('content', UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize('task', ['val', 'test'])
def test_validation_and_test_refuse(cfg, build, root, task, content):
    """At the start of a training too."""
    path = damage(root / 'val/000002.jpg', content)
    for run in (task, 'train'):
        if run == 'test':
            continue
        with pytest.raises(AnnotationError, match=f'1 of 4 images cannot be used: {path} ') as error:
            getattr(build(), run)()
        assert '\n' not in str(error.value)


def test_nothing_to_say(build, root, messages):
    build().train()
    assert not any('images' in message for message in messages)


def test_cut_off_is_used(cfg, build, root, messages):
    """In training, validation and test; it is named once at each start."""
    for path in (root / 'train/000005.jpg', root / 'val/000002.jpg'):
        path.write_bytes(path.read_bytes()[:-20])
    runner = build()
    runner.train()
    assert '000005.jpg' in paths(runner.train_dataloader.dataset)
    named = [message for message in messages if 'cut off and used as far as they go' in message]
    assert len(named) == 2 and 'train/000005.jpg' in named[0] and 'val/000002.jpg' in named[1]
    assert not any('left out' in message for message in messages)
    assert len(build().test()) > 0


@pytest.mark.parametrize('cut', [True, False])
def test_strict(cfg, build, root, cut):
    path = root / 'train/000005.jpg'
    path.write_bytes(path.read_bytes()[:-20] if cut else b'')
    cfg.dataset_check = dict(strict=True)
    with pytest.raises(AnnotationError, match=f'1 of 8 images cannot be used: {path} '):
        build().train()


def test_all_are_damaged(build, root):
    for path in (root / 'train').iterdir():
        path.write_bytes(b'')
    with pytest.raises(AnnotationError, match='train.json: 8 of 8 images cannot be used: .*000000.jpg .an empty file'):
        build().train()


def test_most_are_missing(build, root):
    """As with a wrong data_prefix; a training on the others is not what was meant."""
    for path in list((root / 'train').iterdir())[:5]:
        path.unlink()
    with pytest.raises(AnnotationError, match='train.json: 5 of 8 images are missing: .*correct data_root and data_p'):
        build().train()


@pytest.mark.parametrize('num_workers', [0, 2])
def test_off(cfg, build, root, messages, num_workers):
    """Then damage turns up in training, which skips the file and goes on."""
    cfg.dataset_check = dict(images=False)
    cfg.train_dataloader.num_workers = num_workers
    path = damage(root / 'train/000005.jpg', b'')
    runner = build()
    runner.train()
    assert len(runner.train_dataloader.dataset) == 8 and runner.iter == 4
    (count,) = (message for message in messages if 'Images left out' in message)
    assert re.search(r' 0 files .*; [1-9]\d* loads', count)
    if not num_workers:
        assert sum(f'{path}: missing or not a readable image; skipped' in message for message in messages) == 1


def test_damaged_while_training(cfg, build, root):
    """A run of hours does not die of one file."""
    loop = build().build_train_loop(cfg.train_cfg)
    (root / 'train/000005.jpg').unlink()
    assert sum(len(batch['inputs']) for batch in loop.dataloader) == 8


def test_too_many(cfg, build, root, messages, monkeypatch):
    """Large datasets are not checked, with a message, unless the config asks for it."""
    monkeypatch.setattr('mmthunder.engine.runner.image_check.MAX_IMAGES', 7)
    path = damage(root / 'train/000005.jpg', b'')
    runner = build()
    runner.train()
    assert len(runner.train_dataloader.dataset) == 8
    assert any('the images are not checked, since there are 8, more than 7' in message for message in messages)
    cfg.dataset_check = dict(images=True)
    messages.clear()
    runner = build()
    runner.train()
    assert len(runner.train_dataloader.dataset) == 7 and any(str(path) in message for message in messages)


WRAPPERS = dict(
    repeat=lambda dataset: dict(type='RepeatDataset', times=2, dataset=dataset),
    concat=lambda dataset: dict(type='ConcatDataset', datasets=[dataset, dict(dataset, indices=-6)]),
    balanced=lambda dataset: dict(type='ClassBalancedDataset', oversample_thr=0.9, dataset=dataset),
    repeat_concat=lambda dataset: dict(
        type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[dataset, dict(dataset, indices=7)])
    ),
    mix=lambda dataset: dict(
        type='MultiImageMixDataset',
        dataset=dict(dataset, pipeline=dataset['pipeline'][:2]),
        pipeline=[
            dict(type='Mosaic', img_scale=(64, 64)),
            dict(type='Resize', scale=(64, 64)),
            dataset['pipeline'][-1],
        ],
    ),
)


@pytest.mark.parametrize('wrapper', WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers(cfg, build, root, wrapper):
    for name in ('train/000005.jpg', 'train/000001.jpg'):
        damage(root / name, b'')
    cfg.train_dataloader.dataset = wrapper(cfg.train_dataloader.dataset)
    loop = build().build_train_loop(cfg.train_cfg)
    names = paths(loop.dataloader.dataset)
    assert names and not {'000005.jpg', '000001.jpg'} & set(names)
    assert sum(len(batch['inputs']) for batch in loop.dataloader) == len(loop.dataloader.dataset)


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(indices=4), [0, 2, 3]),
        (dict(indices=-4), [4, 6, 7]),
        (dict(indices=-20), [0, 2, 3, 4, 6, 7]),
        (dict(indices=[5, 3, 1, -1]), [3, 7]),
        (dict(filter_cfg=dict(filter_empty_gt=True)), [0, 2, 4, 6, 7]),
        (dict(filter_cfg=dict(filter_empty_gt=True), indices=3), [0, 2]),
    ],
)
def test_with_other_selections(cfg, build, root, options, expected):
    """The images that the dataset had are kept, in their order, without those that are damaged."""
    names = sorted(path.name for path in (root / 'train').iterdir())
    for i in (1, 5):
        damage(root / 'train' / names[i], b'')
    annotations = root / 'annotations/train.json'
    content = Config.fromfile(annotations).to_dict()
    by_name = {image['file_name']: image['id'] for image in content['images']}
    content['annotations'] = [entry for entry in content['annotations'] if entry['image_id'] != by_name[names[3]]]
    annotations.write_text(json.dumps(dict(content)))
    cfg.train_dataloader.dataset.update(options)
    loop = build().build_train_loop(cfg.train_cfg)
    assert paths(loop.dataloader.dataset) == [names[i] for i in expected]


class TestSizes:
    def test_boxes_of_another_image(self, build, root):
        path = root / 'train/000005.jpg'
        image = cv2.imread(str(path))
        cv2.imwrite(str(path), image[:30, :40])
        message = f'{path}: has 40x30 px, but its annotations say 96x96 (width x height) and have boxes outside of it'
        with pytest.raises(AnnotationError, match=re.escape(message)):
            build().train()

    def test_boxes_that_fit(self, build, root, messages):
        path = root / 'train/000005.jpg'
        cv2.imwrite(str(path), np.zeros((96, 98, 3), np.uint8))
        build().train()
        assert sum(f'{path}: has 98x96 px, but its annotations say 96x96' in message for message in messages) == 1


@pytest.mark.parametrize(
    'options', [dict(image=False), dict(images='no'), dict(images=1), dict(strict='True'), True, 'off', [1]]
)
def test_options(cfg, build, options):
    cfg.dataset_check = options
    with pytest.raises(ValueError, match='^dataset_check is .*; expected a dict of images, one of'):
        build().train()


def test_pipelines_that_hooks_put_in(cfg, build, root, messages):
    """As mmdet does for the last epochs."""
    path = root / 'train/000005.jpg'
    path.write_bytes(path.read_bytes()[:-20])
    cfg.custom_hooks = [
        dict(type='PipelineSwitchHook', switch_epoch=1, switch_pipeline=cfg.train_dataloader.dataset.pipeline)
    ]
    cfg.train_cfg.max_epochs = 2
    runner = build()
    runner.train()
    assert runner.iter == 8 and type(runner.train_dataloader.dataset.pipeline.transforms[0]) is not LoadImageFromFile


def test_drawing(cfg, build, root, monkeypatch):
    """mmdet draws with a loader of its own, which fails at files that OpenCV's loader refuses."""
    path = root / 'val/000002.jpg'
    path.write_bytes(path.read_bytes()[:-20])
    cfg.default_hooks.visualization.update(draw=True, show=False, test_out_dir='pictures')
    monkeypatch.setattr('mmcv.imread', lambda path: None)
    with pytest.raises(AnnotationError, match=f'^{path}: is cut off, so that mmdet cannot draw'):
        build().test()
    monkeypatch.setattr('mmcv.imread', lambda path: np.zeros((1, 1, 3)))
    build().build_dataloader(cfg.val_dataloader)


def test_other_data_loaders(cfg, build, root):
    """What a hook builds is not checked."""
    (root / 'train/000005.jpg').write_bytes(b'')
    runner = build()
    loader = dict(cfg.train_dataloader, batch_size=1)
    assert len(runner.build_dataloader(loader).dataset) == 8


def test_batches_per_epoch(cfg, build, root):
    """mmengine puts the dataset into a wrapper of its own for this."""
    (root / 'train/000005.jpg').write_bytes(b'')
    cfg.train_dataloader.num_batch_per_epoch = 2
    loop = build().build_train_loop(cfg.train_cfg)
    assert len(loop.dataloader) == 2 and len(paths(loop.dataloader.dataset)) == 7
