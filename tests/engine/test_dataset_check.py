import json
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.fileio import LocalBackend, register_backend
from torch import nn

from mmthunder.datasets import AnnotationError, base_datasets
from mmthunder.engine import ThunderRunner
from mmthunder.engine.runner.dataset_check import check_not_empty
from mmthunder.engine.runner.evaluator_check import prepare_evaluator


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
    """Put the dataset into a wrapper."""
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
    return make_runner(loader, task).build_dataloader(loader, seed=0)


def make_runner(loader: Any, task: str, evaluator: Any = None) -> ThunderRunner:
    """Make a runner that has no model, one data loader and its evaluator."""
    runner = ThunderRunner.__new__(ThunderRunner)
    runner.cfg, runner._hooks, runner.model, runner._train_loop = Config(), [], nn.Identity(), None
    for other in ('train', 'val', 'test'):
        setattr(runner, f'_{other}_dataloader', loader if other == task else None)
        setattr(runner, f'_{other}_evaluator', evaluator if other == task else None)
    return runner


def check_evaluator(task: str, loader: Any, evaluator: Any) -> Any:
    return prepare_evaluator(make_runner(loader, task, evaluator), task)


@pytest.mark.parametrize('kind', ['none', 'repeat', 'concat', 'balanced', 'repeat_concat'])
class TestMissingData:
    def test_coco(self, tiny_cfg, kind):
        tiny_cfg.train_dataloader.dataset.data_root = 'nowhere/coco/'
        with pytest.raises(FileNotFoundError) as error:
            build(wrap(tiny_cfg.train_dataloader, kind))
        message = str(error.value)
        assert message.startswith('nowhere/coco/annotations/train.json: no such annotation file')
        assert "link the dataset at 'nowhere/coco/'" in message
        key = dict(none='', concat='.datasets.0', repeat_concat='.dataset.datasets.0').get(kind, '.dataset')
        assert f'--cfg-options train_dataloader.dataset{key}.data_root=' in message
        assert '\n' not in message

    def test_voc(self, kind):
        with pytest.raises(FileNotFoundError) as error:
            build(wrap(voc_loader(Path('nowhere/voc'), 'cat'), kind))
        message = str(error.value)
        assert message.startswith('nowhere/voc/ImageSets/Main/train.txt: no such annotation file')
        assert "link the dataset at 'nowhere/voc/'" in message

    @pytest.mark.parametrize('task', ['train', 'val', 'test'])
    def test_names_the_loader(self, tiny_cfg, kind, task):
        tiny_cfg.train_dataloader.dataset.data_root = 'nowhere/'
        with pytest.raises(FileNotFoundError, match=f'--cfg-options {task}_dataloader.dataset[.a-z0-9]*.data_root='):
            build(wrap(tiny_cfg.train_dataloader, kind), task)

    def test_one_xml_file(self, voc, kind):
        (voc / 'Annotations/1.xml').unlink()
        message = re.escape(f"{voc}/Annotations/1.xml: no such file; remove '1' from {voc}/ImageSets/Main/train.txt")
        with pytest.raises(AnnotationError, match=message):
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
        """Built data loaders and evaluators."""
        check_evaluator('val', tiny_cfg.val_dataloader, Evaluator([]))
        check_evaluator('val', build(tiny_cfg.val_dataloader), dict(type='CocoMetric', ann_file='nowhere.json'))
        check_evaluator('val', None, None)


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
        with pytest.raises(ValueError, match=f"^{path}: size/width is 'wide'; expected an integer number of pixels"):
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

    def test_error_of_another_kind_of_dataset(self):
        """It is shown as it is; the search for datasets without images does not know this kind."""
        dataset = dict(type='torch.utils.data.StackDataset', numbers=[1, 2])
        loader = dict(batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dataset)
        with pytest.raises(ValueError, match='persistent_workers'):
            build(dict(loader, persistent_workers=True))

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
        assert 'set metainfo=dict(classes=...)' in message and 'num_classes' in message
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
        message = f'in the order of the categories; set metainfo=dict(classes={expected})'
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
        """Files are read with the dataset's backend_args alone."""

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
    def test_coco_is_read_twice(self, tiny_cfg, shapes, tmp_path, monkeypatch, name):
        """By the check and by mmdet, whatever it is called."""
        shutil.copy(shapes / 'annotations/train.json', tmp_path / name)
        tiny_cfg.train_dataloader.dataset.ann_file = str(tmp_path / name)
        read, files = json.load, []
        monkeypatch.setattr(json, 'load', lambda file, **kwargs: files.append(file.name) or read(file, **kwargs))
        assert len(build(tiny_cfg.train_dataloader).dataset) == 8
        assert files == [str(tmp_path / name)] * 2

    def test_in_a_run(self, tiny_cfg, build_runner):
        tiny_cfg.test_dataloader.dataset.metainfo = dict(classes=('circle', 'square', 'triangle', 'star', 'cross', 'o'))
        with pytest.raises(ValueError, match=r"val.json: the classes \['o'\] of metainfo .* which have \['ring'\]"):
            build_runner(tiny_cfg).test()

    def test_others_are_not_checked(self):
        dataset = torch.utils.data.TensorDataset(torch.zeros(2))
        assert list(base_datasets(dataset)) == [dataset]
        check_not_empty(dataset)
