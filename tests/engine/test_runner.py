import json
import re
import shutil
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
from mmdet.engine.hooks import NumClassCheckHook
from mmengine.device import get_device
from mmengine.evaluator import Evaluator
from mmengine.fileio import LocalBackend, register_backend
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
from mmthunder.engine.runner.dataset_check import base_datasets, check_evaluator, check_not_empty


def add_text(parent: ElementTree.Element, **texts) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = str(text)


@pytest.fixture
def voc(tmp_path) -> Path:
    """Three 64 px images in Pascal VOC layout, with cats and dogs."""
    root = tmp_path / 'voc'
    for folder in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (root / folder).mkdir(parents=True)
    for i, names in enumerate((['cat', 'dog'], ['dog'], [])):
        cv2.imwrite(str(root / f'JPEGImages/{i}.jpg'), np.full((64, 64, 3), 40 * i, np.uint8))
        annotation = ElementTree.Element('annotation')
        add_text(ElementTree.SubElement(annotation, 'size'), width=64, height=64, depth=3)
        for name in names:
            obj = ElementTree.SubElement(annotation, 'object')
            add_text(obj, name=name, difficult=0)
            add_text(ElementTree.SubElement(obj, 'bndbox'), xmin=5, ymin=6, xmax=40, ymax=50)
        ElementTree.ElementTree(annotation).write(root / f'Annotations/{i}.xml')
    (root / 'ImageSets/Main/train.txt').write_text('0\n1\n2\n')
    return root


def voc_loader(root: Path, *classes: str) -> dict:
    dataset = dict(
        type='XMLDataset',
        data_root=f'{root}/',
        metainfo=dict(classes=classes),
        ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root=''),
        pipeline=[],
    )
    return dict(batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dataset)


def wrap(loader: dict, kind: str) -> dict:
    """Put the data set into a wrapper."""
    dataset = loader['dataset']
    wrappers = dict(
        none=dataset,
        repeat=dict(type='RepeatDataset', times=2, dataset=dataset),
        concat=dict(type='ConcatDataset', datasets=[dataset, dataset]),
        balanced=dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=dataset),
        repeat_concat=dict(
            type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[dataset, dataset])
        ),
    )
    return dict(loader, dataset=wrappers[kind])


def build(loader: dict, task: str = 'train') -> torch.utils.data.DataLoader:
    """Build a data loader as a runner does whose config has it for that task."""
    runner = ThunderRunner.__new__(ThunderRunner)
    for other in ('train', 'val', 'test'):
        setattr(runner, f'_{other}_dataloader', loader if other == task else None)
    return runner.build_dataloader(loader, seed=0)


def test_registered():
    assert RUNNERS.get('ThunderRunner') is RUNNERS.get('mmthunder.engine.ThunderRunner') is ThunderRunner


@pytest.mark.parametrize('kind', ['none', 'repeat', 'concat', 'balanced', 'repeat_concat'])
class TestMissingData:
    def test_coco(self, tiny_cfg, kind):
        tiny_cfg.train_dataloader.dataset.data_root = 'nowhere/coco/'
        with pytest.raises(FileNotFoundError) as error:
            build(wrap(tiny_cfg.train_dataloader, kind))
        message = str(error.value)
        assert message.startswith('nowhere/coco/annotations/train.json: no such annotation file')
        assert "link the data set at 'nowhere/coco/'" in message
        key = dict(none='', concat='.datasets.0', repeat_concat='.dataset.datasets.0').get(kind, '.dataset')
        assert f'--cfg-options train_dataloader.dataset{key}.data_root=' in message
        assert '\n' not in message

    def test_voc(self, kind):
        with pytest.raises(FileNotFoundError) as error:
            build(wrap(voc_loader(Path('nowhere/voc'), 'cat'), kind))
        message = str(error.value)
        assert message.startswith('nowhere/voc/ImageSets/Main/train.txt: no such annotation file')
        assert "link the data set at 'nowhere/voc/'" in message

    @pytest.mark.parametrize('task', ['train', 'val', 'test'])
    def test_names_the_loader(self, tiny_cfg, kind, task):
        tiny_cfg.train_dataloader.dataset.data_root = 'nowhere/'
        with pytest.raises(FileNotFoundError, match=f'--cfg-options {task}_dataloader.dataset[.a-z0-9]*.data_root='):
            build(wrap(tiny_cfg.train_dataloader, kind), task)

    def test_one_xml_file(self, voc, kind):
        (voc / 'Annotations/1.xml').unlink()
        with pytest.raises(FileNotFoundError, match=re.escape(str(voc / 'Annotations/1.xml'))):
            build(wrap(voc_loader(voc, 'cat', 'dog'), kind))


@pytest.mark.parametrize('task', ['train', 'test'])
def test_missing_data_in_a_run(tiny_cfg, build_runner, task):
    for loader in (tiny_cfg.train_dataloader, tiny_cfg.test_dataloader):
        loader.dataset.data_root = 'nowhere/'
    name = dict(train='train', test='val')[task]
    message = f"nowhere/annotations/{name}.json: no such .*at 'nowhere/'.* {task}_dataloader.dataset.data_root="
    with pytest.raises(FileNotFoundError, match=message):
        getattr(build_runner(tiny_cfg), task)()


class TestEvaluator:
    @pytest.mark.parametrize('task', ['val', 'test'])
    def test_missing(self, tiny_cfg, build_runner, shapes, task):
        tiny_cfg[f'{task}_evaluator'].ann_file = 'nowhere/annotations/val.json'
        message = (
            f'{task}_evaluator.ann_file is nowhere/annotations/val.json, but {task}_dataloader reads '
            f"{shapes}/annotations/val.json; set {task}_evaluator.ann_file='{shapes}/annotations/val.json' in"
        )
        with pytest.raises(ValueError, match=re.escape(message)):
            getattr(build_runner(tiny_cfg), task)()

    @pytest.mark.parametrize(
        ('key', 'put'),
        [
            ('val_evaluator', lambda metric: metric),
            ('val_evaluator.1', lambda metric: [dict(type='DumpDetResults', out_file_path='a.pkl'), metric]),
            ('val_evaluator.metrics', lambda metric: dict(metrics=metric)),
            ('val_evaluator.metrics.0', lambda metric: dict(metrics=[metric])),
        ],
    )
    def test_other(self, tiny_cfg, shapes, key, put):
        """The annotations of the training set."""
        metric = dict(tiny_cfg.val_evaluator, ann_file=f'{shapes}/annotations/train.json')
        with pytest.raises(ValueError, match=f'^{key}.ann_file is {shapes}/annotations/train.json, but val_dataload'):
            check_evaluator('val', tiny_cfg.val_dataloader, put(metric))

    def test_fits(self, tiny_cfg, shapes, tmp_path, monkeypatch):
        """The same file, however it is named, a copy of it, or none."""
        shutil.copy(shapes / 'annotations/val.json', tmp_path / 'copy.json')
        (tmp_path / 'link').symlink_to(shapes)
        monkeypatch.chdir(shapes)
        for path in (
            f'{shapes}/annotations/val.json',
            'annotations/val.json',
            f'{tmp_path}/copy.json',
            f'{tmp_path}/link/annotations/val.json',
            None,
        ):
            check_evaluator('val', tiny_cfg.val_dataloader, dict(tiny_cfg.val_evaluator, ann_file=path))

    def test_not_checked(self, tiny_cfg, voc):
        """Other data sets, several at once, a missing data set, which has its own error, and built objects."""
        metric = dict(type='CocoMetric', ann_file='nowhere.json')
        check_evaluator('val', voc_loader(voc, 'cat'), metric)
        check_evaluator('val', wrap(tiny_cfg.val_dataloader, 'concat'), metric)
        check_evaluator('val', tiny_cfg.val_dataloader, Evaluator([]))
        check_evaluator('val', tiny_cfg.val_dataloader, [Evaluator([])])
        check_evaluator('val', build(tiny_cfg.val_dataloader), metric)
        check_evaluator('val', None, None)
        tiny_cfg.val_dataloader.dataset.data_root = 'nowhere/'
        check_evaluator('val', tiny_cfg.val_dataloader, metric)


class TestDamagedAnnotations:
    @pytest.mark.parametrize('kind', ['none', 'repeat', 'concat', 'repeat_concat'])
    def test_coco(self, tiny_cfg, shapes, tmp_path, kind):
        shutil.copytree(shapes, tmp_path / 'cut')
        path = tmp_path / 'cut/annotations/train.json'
        path.write_bytes(path.read_bytes()[:200])
        tiny_cfg.train_dataloader.dataset.data_root = f'{tmp_path}/cut/'
        with pytest.raises(ValueError, match=f'^{path}: not readable as JSON .*; the file is damaged or was cut off'):
            build(wrap(tiny_cfg.train_dataloader, kind))

    @pytest.mark.parametrize('content', [b'', b'<annotation><size>', b'\xff\xfe'])
    def test_voc(self, voc, content):
        path = voc / 'Annotations/1.xml'
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f'^{path}: not readable as XML .*; the file is damaged or was cut off'):
            build(wrap(voc_loader(voc, 'cat', 'dog'), 'repeat'))

    def test_one_field(self, voc):
        """Damage that leaves XML: the field is named too."""
        path = voc / 'Annotations/1.xml'
        path.write_text(path.read_text().replace('<width>64</width>', '<width>wide</width>'))
        with pytest.raises(ValueError, match=f"^{path}: size/width is 'wide'; expected a whole number of pixels"):
            build(wrap(voc_loader(voc, 'cat', 'dog'), 'concat'))


class TestNoImages:
    @pytest.mark.parametrize('kind', ['none', 'repeat', 'concat', 'repeat_concat'])
    @pytest.mark.parametrize('filter_cfg', [dict(min_size=100), dict(filter_empty_gt=True)])
    def test_all_are_left_out(self, voc, kind, filter_cfg):
        """The second asks for objects, and there is none."""
        loader = voc_loader(voc, 'cat', 'dog')
        for path in (voc / 'Annotations').iterdir():
            path.write_text(re.sub('<object>.*</object>', '', path.read_text()))
        loader['dataset']['filter_cfg'] = filter_cfg
        with pytest.raises(ValueError, match='Main/train.txt: no image is left; .*leaves out all of them') as error:
            build(wrap(loader, kind))
        assert '\n' not in str(error.value)

    def test_no_endless_search(self, voc):
        """An infinite sampler over nothing would never give an index."""
        loader = voc_loader(voc, 'cat', 'dog')
        loader['dataset'].update(filter_cfg=dict(min_size=100), serialize_data=False)
        loader['sampler'] = dict(type='InfiniteSampler')
        with pytest.raises(ValueError, match='no image is left'):
            build(loader)

    @pytest.mark.parametrize(
        ('content', 'message'),
        [
            (b'\xff\xfe0', 'Main/train.txt: not readable as text .*; expected a name of an image in each line'),
            (b'0\n\0', r"Annotations/\\x00.xml': not the name of a file; correct .*Main/train.txt"),
            (b's3://0', "s3://0.xml': not the name of a file; correct .*Main/train.txt"),
        ],
    )
    def test_list_of_something_else(self, voc, content, message):
        (voc / 'ImageSets/Main/train.txt').write_bytes(content)
        with pytest.raises(ValueError, match=message) as error:
            build(wrap(voc_loader(voc, 'cat', 'dog'), 'repeat'))
        assert '\n' not in str(error.value)

    def test_empty_list(self, voc):
        (voc / 'ImageSets/Main/train.txt').write_text('')
        with pytest.raises(ValueError, match='Main/train.txt: no image is left; the file lists none'):
            build(voc_loader(voc, 'cat', 'dog'))


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


class TestClassList:
    @pytest.mark.parametrize('kind', ['none', 'repeat', 'concat', 'balanced', 'repeat_concat'])
    def test_coco(self, tiny_cfg, kind):
        tiny_cfg.train_dataloader.dataset.metainfo = dict(
            classes=('circle', 'sqare', 'triangle', 'star', 'cross', 'hexagon')
        )
        with pytest.raises(ValueError) as error:
            build(wrap(tiny_cfg.train_dataloader, kind))
        message = str(error.value)
        assert re.match(r".*annotations/train.json: the classes \['sqare', 'hexagon'\] of metainfo are not", message)
        assert "among the categories, which have ['square', 'ring'] that metainfo does not" in message
        assert 'set dataset.metainfo=dict(classes=(...))' in message and 'num_classes' in message
        assert '\n' not in message

    def test_coco_without_a_class_list(self, tiny_cfg):
        """CocoDataset then expects COCO's 80 classes."""
        del tiny_cfg.train_dataloader.dataset['metainfo']
        with pytest.raises(ValueError, match=r"the classes \['person', .*which have \['circle', 'square', "):
            build(tiny_cfg.train_dataloader)

    def test_coco_with_fewer_classes(self, tiny_cfg):
        """A part of the categories is a choice."""
        tiny_cfg.train_dataloader.dataset.metainfo = dict(classes=('circle', 'star'))
        assert build(tiny_cfg.train_dataloader).dataset.metainfo['classes'] == ('circle', 'star')

    @pytest.mark.parametrize('classes', [('star', 'circle'), ('ring', 'square', 'triangle', 'star', 'cross', 'circle')])
    def test_coco_in_another_order(self, tiny_cfg, classes):
        """mmdet's labels follow the file, so that other names would be given to them."""
        tiny_cfg.train_dataloader.dataset.metainfo = dict(classes=classes)
        expected = tuple(name for name in ('circle', 'square', 'triangle', 'star', 'cross', 'ring') if name in classes)
        message = f'in the order of the categories; set dataset.metainfo=dict(classes={expected})'
        with pytest.raises(ValueError, match=re.escape(message)):
            build(tiny_cfg.train_dataloader)

    @pytest.mark.parametrize('kind', ['none', 'repeat', 'concat', 'balanced', 'repeat_concat'])
    def test_voc(self, voc, kind):
        with pytest.raises(ValueError) as error:
            build(wrap(voc_loader(voc, 'cat', 'dgo'), kind))
        message = str(error.value)
        assert re.match(r".*ImageSets/Main/train.txt: the classes \['dgo'\] of metainfo are not among the obj", message)
        assert "which have ['dog'] that metainfo does not" in message
        assert '\n' not in message

    @pytest.mark.parametrize('classes', [('cat', 'dog'), ('dog', 'cat'), ('dog',), ('cat', 'dog', 'rare')])
    def test_voc_that_fits(self, voc, classes):
        """Classes may be left out, and a class may have no object while all names are known."""
        assert len(build(voc_loader(voc, *classes)).dataset) == 3

    def test_voc_in_another_storage(self, voc):
        """Files are read with the data set's backend_args alone."""

        class Elsewhere(LocalBackend):
            """Files by their paths below a folder."""

            def get(self, filepath: str) -> bytes:
                return super().get(f'{voc}/{filepath}')

            def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
                return super().get_text(f'{voc}/{filepath}', encoding)

            @contextmanager
            def get_local_path(self, filepath: str) -> Iterator[str]:
                yield f'{voc}/{filepath}'

        register_backend('elsewhere', Elsewhere, force=True)
        loader = voc_loader(voc, 'dog', 'rare')
        loader['dataset'].update(data_root='', backend_args=dict(backend='elsewhere'))
        with pytest.raises(ValueError, match=r"^ImageSets/Main/train.txt: the classes \['rare'\] .* have \['cat'\]"):
            build(loader)
        loader['dataset']['metainfo'] = dict(classes=('cat', 'dog'))
        assert len(build(loader).dataset) == 3

    @pytest.mark.parametrize('name', ['train.json', 'train.coco'])
    def test_coco_is_read_once(self, tiny_cfg, shapes, tmp_path, monkeypatch, name):
        """Whatever it is called."""
        shutil.copy(shapes / 'annotations/train.json', tmp_path / name)
        tiny_cfg.train_dataloader.dataset.ann_file = str(tmp_path / name)
        read, files = json.load, []
        monkeypatch.setattr(json, 'load', lambda file, **kwargs: files.append(file.name) or read(file, **kwargs))
        assert len(build(tiny_cfg.train_dataloader).dataset) == 8
        assert files == [str(tmp_path / name)]

    def test_in_a_run(self, tiny_cfg, build_runner):
        tiny_cfg.test_dataloader.dataset.metainfo = dict(classes=('circle', 'square', 'triangle', 'star', 'cross', 'o'))
        with pytest.raises(ValueError, match=r"val.json: the classes \['o'\] of metainfo .* which have \['ring'\]"):
            build_runner(tiny_cfg).test()

    def test_others_are_not_checked(self):
        dataset = torch.utils.data.TensorDataset(torch.zeros(2))
        assert list(base_datasets(dataset)) == [dataset]
        check_not_empty(dataset)


CORRUPTIONS = dict(garbage=b'not an image at all', empty=b'', header=b'\xff\xd8\xff\xe0\x00\x10JFIF')


@pytest.fixture
def corrupt_cfg(tiny_cfg, shapes, tmp_path):
    """The data set in a folder of its own, in which tests break an image."""
    root = tmp_path / 'corrupt'
    shutil.copytree(shapes, root)
    for loader in (tiny_cfg.train_dataloader, tiny_cfg.test_dataloader):
        loader.dataset.data_root = f'{root}/'
    tiny_cfg.train_cfg.max_epochs = 1
    return tiny_cfg


@pytest.mark.parametrize('num_workers', [0, 1])
@pytest.mark.parametrize('content', CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_corrupt_image_is_named(corrupt_cfg, build_runner, tmp_path, content, num_workers):
    corrupt_cfg.train_dataloader.num_workers = num_workers
    image = tmp_path / 'corrupt/train/000005.jpg'
    image.write_bytes(content)
    with pytest.raises(Exception, match=re.escape(str(image))):
        build_runner(corrupt_cfg).train()


def test_corrupt_test_image_is_named(corrupt_cfg, build_runner, tmp_path):
    image = tmp_path / 'corrupt/val/000002.jpg'
    image.write_bytes(CORRUPTIONS['garbage'])
    with pytest.raises(Exception, match=re.escape(str(image))):
        build_runner(corrupt_cfg).test()


@pytest.mark.parametrize('num_workers', [0, 1])
def test_missing_image_is_named(corrupt_cfg, build_runner, tmp_path, num_workers):
    corrupt_cfg.train_dataloader.num_workers = num_workers
    image = tmp_path / 'corrupt/train/000005.jpg'
    image.unlink()
    with pytest.raises(Exception, match=re.escape(str(image))) as error:
        build_runner(corrupt_cfg).train()
    # It is an image that is missing, not the annotation file.
    assert 'annotation file' not in str(error.value)


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
            # As in configs from before the runner added hooks.
            dict(default_hooks=dict(rng_state=dict(type='RNGStateHook'), strict=dict(type=StrictCheckpointHook))),
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
        with pytest.raises(AssertionError, match='num_classes'):
            build_runner(tiny_cfg).train()

    def test_classifiers_have_no_class_check(self, tiny_cfg, build_runner):
        runner = build_runner(tiny_cfg)
        runner._hooks, runner.model = [], nn.Linear(1, 1)
        runner.register_hooks()
        assert NumClassCheckHook not in self.counts(runner) and self.counts(runner)[DivergenceHook] == 1
