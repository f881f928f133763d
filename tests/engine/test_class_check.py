"""Class lists of datasets, heads and checkpoints: the right AP, or refused with advice that leads there."""

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any, Callable, Tuple

import pytest
import torch
from mmdet.models import BBoxHead, RPNHead
from mmengine.config import Config
from torch import nn

from mmthunder.datasets import AnnotationError
from mmthunder.engine.runner.class_check import find_model_errors

CLASSES = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')
REVERSED = CLASSES[::-1]


def advised(error: Exception) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
    """Read the class list and the data loaders from the advice of a message."""
    found = re.search(r'set metainfo=dict\(classes=(\(.*?\))\) of the datasets of ([\w, ]+)', str(error))
    return ast.literal_eval(found[1]), tuple(re.split(', | and ', found[2]))


def follow(cfg: Config, error: Exception) -> None:
    classes, loaders = advised(error)
    for loader in loaders:
        cfg[loader].dataset.metainfo = dict(classes=classes)


def set_classes(cfg: Config, classes: Any, *loaders: str) -> None:
    for loader in loaders:
        cfg[f'{loader}_dataloader'].dataset.metainfo = dict(classes=classes)


@pytest.mark.slow
class TestTrainedDetector:
    """With a checkpoint that was trained with the classes in this order."""

    @pytest.fixture
    def cfg(self, shared, repo, tmp_path, monkeypatch) -> Config:
        """A test whose AP is 0.606."""
        common = shared / 'field/common'
        shutil.copytree(common / 'tiny', tmp_path / 'tiny')
        monkeypatch.setenv('REPO', str(repo))
        monkeypatch.setenv('DATA', str(tmp_path / 'tiny'))
        cfg = Config.fromfile(common / 'tiny.py')
        cfg.update(load_from=str(common / 'shapes.pth'), work_dir=str(tmp_path / 'work'), log_level='ERROR')
        return cfg

    @staticmethod
    def change(tmp_path: Path, change: Callable[[dict], None]) -> None:
        """Change the annotations of the test set."""
        path = tmp_path / 'tiny/annotations/val.json'
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    @pytest.mark.parametrize('metric', ['ThunderCocoMetric', 'CocoMetric', 'mmdet.CocoMetric'])
    @pytest.mark.parametrize('order', [REVERSED, sorted(CLASSES), ('square', 'ring', *CLASSES[2:5], 'circle')])
    def test_categories_in_another_order(self, cfg, tmp_path, build_runner, order, metric):
        self.change(tmp_path, lambda content: content['categories'].sort(key=lambda entry: order.index(entry['name'])))
        cfg.test_evaluator.type = metric
        assert build_runner(cfg).test()['coco/bbox_mAP'] == 0.606

    def test_other_ids(self, cfg, tmp_path, build_runner):
        """Neither ascending nor those of the training."""

        def change(content: dict) -> None:
            for section, key in (('categories', 'id'), ('annotations', 'category_id')):
                for entry in content[section]:
                    entry[key] = [50, 'x', 7, 0, 31, 'a'][entry[key] - 1]

        self.change(tmp_path, change)
        metrics = build_runner(cfg).test()
        assert metrics['coco/bbox_mAP'] == 0.606

    @pytest.mark.parametrize('category', CLASSES)
    def test_fewer_categories(self, cfg, tmp_path, build_runner, category):
        """The AP is the mean of those of the others."""
        expected = build_runner(cfg).test()

        def change(content: dict) -> None:
            (removed,) = (entry['id'] for entry in content['categories'] if entry['name'] == category)
            content['categories'] = [entry for entry in content['categories'] if entry['id'] != removed]
            content['annotations'] = [entry for entry in content['annotations'] if entry['category_id'] != removed]

        self.change(tmp_path, change)
        metrics = build_runner(cfg).test()
        for name in set(CLASSES) - {category}:
            assert metrics[f'coco/{name}_precision'] == expected[f'coco/{name}_precision']
        mean = sum(expected[f'coco/{name}_precision'] for name in set(CLASSES) - {category}) / 5
        assert metrics['coco/bbox_mAP'] == pytest.approx(mean, abs=0.001)

    @pytest.mark.parametrize('classes', [REVERSED, CLASSES[:5], (*CLASSES, 'hexagon'), ('ring',)])
    @pytest.mark.parametrize('with_meta', [True, False])
    def test_class_list_of_the_test(self, cfg, tmp_path, build_runner, classes, with_meta):
        """Each message's advice leads on, and at last to the right AP."""
        if not with_meta:
            checkpoint = torch.load(cfg.load_from)
            del checkpoint['meta']['dataset_meta']
            cfg.load_from = str(tmp_path / 'other.pth')
            torch.save(checkpoint, cfg.load_from)
        set_classes(cfg, classes, 'test')
        if 'hexagon' in classes:
            categories = [dict(id=9, name='hexagon')]
            self.change(tmp_path, lambda content: content['categories'].extend(categories))
        with pytest.raises(AnnotationError) as error:
            build_runner(cfg).test()
        follow(cfg, error.value)
        assert build_runner(cfg).test()['coco/bbox_mAP'] == 0.606

    def test_renamed_categories(self, cfg, tmp_path, build_runner):
        def rename(content: dict, name: str) -> None:
            content['categories'][0]['name'] = name

        self.change(tmp_path, lambda content: rename(content, 'Circle'))
        message = (
            r"val.json: the classes \['circle'\] .* which have \['Circle'\] .* and the annotations spell them alike"
        )
        with pytest.raises(AnnotationError, match=message):
            build_runner(cfg).test()
        set_classes(cfg, ('Circle', *CLASSES[1:]), 'test')
        with pytest.raises(AnnotationError) as error:
            build_runner(cfg).test()
        follow(cfg, error.value)
        self.change(tmp_path, lambda content: rename(content, 'circle'))
        assert build_runner(cfg).test()['coco/bbox_mAP'] == 0.606

    @pytest.mark.parametrize('indices', [4, [0, 1, 2, 3]])
    @pytest.mark.parametrize('metric', ['ThunderCocoMetric', 'CocoMetric'])
    def test_part_of_the_test_set(self, cfg, build_runner, indices, metric):
        cfg.test_dataloader.dataset.indices = indices
        cfg.test_evaluator.type = metric
        assert build_runner(cfg).test()['coco/bbox_mAP'] == 0.654

    def test_training_set_in_another_order(self, cfg, tmp_path, build_runner):
        """mmdet would number its labels by the file; a training that goes on from the detector shows it."""
        path = tmp_path / 'tiny/annotations/train.json'
        content = json.loads(path.read_text())
        content['categories'].reverse()
        path.write_text(json.dumps(content))
        with pytest.raises(AnnotationError) as error:
            build_runner(cfg).train()
        assert advised(error.value) == (REVERSED, ('train_dataloader', 'val_dataloader', 'test_dataloader'))
        follow(cfg, error.value)
        runner = build_runner(cfg)
        loop = runner.build_train_loop(cfg.train_cfg)
        dataset = loop.dataloader.dataset
        names = {entry['id']: entry['name'] for entry in content['categories']}
        assert [names[key] for key in dataset.cat_ids] == list(dataset.metainfo['classes']) == list(REVERSED)


class TestLists:
    @pytest.fixture(autouse=True)
    def quick(self, tiny_cfg) -> None:
        for loader in (tiny_cfg.train_dataloader, tiny_cfg.val_dataloader, tiny_cfg.test_dataloader):
            loader.num_workers = 0
        tiny_cfg.train_cfg.max_epochs = 1

    @pytest.mark.parametrize('classes', [REVERSED, CLASSES[:5]])
    def test_validation_of_other_classes(self, tiny_cfg, build_runner, classes):
        """Found before the first epoch."""
        set_classes(tiny_cfg, classes, 'val')
        with pytest.raises(AnnotationError, match='^val_dataloader has the classes') as error:
            build_runner(tiny_cfg).train()
        assert advised(error.value) == (CLASSES, ('val_dataloader',))
        follow(tiny_cfg, error.value)
        build_runner(tiny_cfg).train()

    @pytest.mark.parametrize('task', ['train', 'val', 'test'])
    def test_head_of_other_classes(self, tiny_cfg, build_runner, task):
        tiny_cfg.model.roi_head.bbox_head.num_classes = 5
        message = f'^model.roi_head.bbox_head.num_classes is 5, but {task}_dataloader has 6 .*; set num_classes=6 for'
        with pytest.raises(AnnotationError, match=message):
            getattr(build_runner(tiny_cfg), task)()

    def test_category_ids_in_checkpoints(self, tiny_cfg, build_runner, shapes, tmp_path):
        shutil.copytree(shapes, tmp_path / 'shapes')
        path = tmp_path / 'shapes/annotations/train.json'
        content = json.loads(path.read_text())
        ids = [90, 'b', 7, 0, 31, 'a']
        for section, key in (('categories', 'id'), ('annotations', 'category_id')):
            for entry in content[section]:
                entry[key] = ids[entry[key] - 1]
        path.write_text(json.dumps(content))
        tiny_cfg.train_dataloader.dataset.data_root = f'{tmp_path}/shapes/'
        runner = build_runner(tiny_cfg)
        runner.train()
        meta = torch.load(Path(runner.work_dir, 'epoch_1.pth'), weights_only=True)['meta']['dataset_meta']
        assert meta['category_ids'] == ids and tuple(meta['classes']) == CLASSES and 'palette' in meta

    def test_resumed_with_other_classes(self, tiny_cfg, build_runner, shapes, tmp_path):
        build_runner(tiny_cfg).train()
        tiny_cfg.update(resume=True, load_from=f'{tiny_cfg.work_dir}/epoch_1.pth')
        tiny_cfg.train_cfg.max_epochs = 2
        shutil.copytree(shapes, tmp_path / 'shapes')
        for name in ('train', 'val'):
            path = tmp_path / f'shapes/annotations/{name}.json'
            content = json.loads(path.read_text())
            content['categories'].reverse()
            path.write_text(json.dumps(content))
        set_classes(tiny_cfg, REVERSED, 'train', 'val')
        for loader in (tiny_cfg.train_dataloader, tiny_cfg.val_dataloader):
            loader.dataset.data_root = f'{tmp_path}/shapes/'
        tiny_cfg.val_evaluator.ann_file = f'{tmp_path}/shapes/annotations/val.json'
        with pytest.raises(AnnotationError, match='epoch_1.pth: the classes are') as error:
            build_runner(tiny_cfg).train()
        assert advised(error.value) == (CLASSES, ('train_dataloader',))
        tiny_cfg.resume = False  # fine-tuning
        tiny_cfg.work_dir = str(tmp_path / 'other')
        build_runner(tiny_cfg).train()

    @pytest.mark.parametrize('size', [5, 7])
    def test_palette(self, tiny_cfg, build_runner, size):
        tiny_cfg.train_dataloader.dataset.metainfo = dict(classes=CLASSES, palette=[(1, 2, 3)] * size)
        with pytest.raises(AnnotationError, match=f'train_dataloader.dataset: metainfo.palette has {size} colors'):
            build_runner(tiny_cfg).train()

    @pytest.mark.parametrize(
        ('size', 'options'), [(6, {}), (8, {}), (1, {}), (6, dict(type='CrossEntropyLoss', use_sigmoid=True))]
    )
    def test_class_weight(self, tiny_cfg, build_runner, size, options):
        tiny_cfg.model.roi_head.bbox_head.loss_cls.update(class_weight=[1.0] * size, **options)
        message = f'^model.roi_head.bbox_head.loss_cls.class_weight has {size} values; expected 7, one for each class'
        with pytest.raises(AnnotationError, match=message):
            build_runner(tiny_cfg).train()

    @pytest.mark.parametrize(('size', 'expected'), [(5, '6 values'), (6, 'one number')])
    def test_score_thresholds(self, tiny_cfg, build_runner, size, expected):
        tiny_cfg.model.test_cfg.rcnn.score_thr = [0.1] * size
        with pytest.raises(AnnotationError, match=f'score_thr has {size} values; .* expects {expected}'):
            build_runner(tiny_cfg).train()

    @pytest.mark.parametrize(
        'names',
        [
            ['circle one', 'a/b', "it's", 'say "hi"', 'größe 圆', 'tab\tand\\n'],
            ['1', '2', '03', '4.0', 'None', 'True'],
            ['bbox_mAP', '_precision', '..', '*', '{}', '%s'],
        ],
    )
    def test_names_of_any_text(self, tiny_cfg, build_runner, shapes, tmp_path, names):
        shutil.copytree(shapes, tmp_path / 'shapes')
        for path in (tmp_path / 'shapes/annotations').iterdir():
            content = json.loads(path.read_text())
            for entry in content['categories']:
                entry['name'] = names[CLASSES.index(entry['name'])]
            path.write_text(json.dumps(content))
        set_classes(tiny_cfg, names, 'train', 'val', 'test')
        for loader in (tiny_cfg.train_dataloader, tiny_cfg.val_dataloader, tiny_cfg.test_dataloader):
            loader.dataset.data_root = f'{tmp_path}/shapes/'
        for evaluator in (tiny_cfg.val_evaluator, tiny_cfg.test_evaluator):
            evaluator.ann_file = f'{tmp_path}/shapes/annotations/val.json'
        tiny_cfg.default_hooks.checkpoint.save_best = f'coco/{names[1]}_precision'
        runner = build_runner(tiny_cfg)
        runner.train()
        tiny_cfg.load_from = str(Path(runner.work_dir, 'epoch_1.pth'))
        metrics = build_runner(tiny_cfg).test()
        assert all(f'coco/{name}_precision' in metrics for name in names)

    def test_one_class(self, tiny_cfg, build_runner):
        """As a list of one name; a string would be taken for its letters."""
        tiny_cfg.model.roi_head.bbox_head.num_classes = 1
        set_classes(tiny_cfg, 'ring', 'train', 'val')
        with pytest.raises(AnnotationError, match=r"is the string 'ring'; .* as classes=\('ring',\)"):
            build_runner(tiny_cfg).train()
        set_classes(tiny_cfg, ('ring',), 'train', 'val')
        runner = build_runner(tiny_cfg)
        runner.train()
        assert runner.train_dataloader.dataset.metainfo['classes'] == ('ring',)


class Head(nn.Module):
    """A head with a loss, as mmdet's have them."""

    def __init__(self, loss: dict, **attributes) -> None:
        super().__init__()
        vars(self).update(attributes)
        self.loss_cls = nn.Module()
        vars(self.loss_cls).update(loss)


@pytest.mark.parametrize(
    ('head', 'errors'),
    [
        (Head(dict(class_weight=None), num_classes=2), 0),
        (Head(dict(class_weight=0.5), num_classes=2), 0),
        (Head(dict(class_weight=[1, 1]), num_classes=2), 1),
        (Head(dict(class_weight=[1, 1, 1]), num_classes=2), 0),
        (Head(dict(class_weight=torch.ones(3)), num_classes=2), 0),
        (Head(dict(class_weight=[1, 1], use_sigmoid=True), num_classes=2), 0),
        (Head(dict(class_weight=[1, 1, 1], use_sigmoid=True), num_classes=2), 1),
        (Head(dict(class_weight=[1, 1]), num_classes=2, cls_out_channels=2), 0),
        (Head(dict(class_weight=None), num_classes=3), 1),
        (Head(dict(class_weight=None), num_classes=2, test_cfg=dict(score_thr=[0.1, 0.2])), 0),
        (Head(dict(class_weight=None), num_classes=2, test_cfg=dict(rcnn=dict(score_thr=[0.1]))), 1),
        (Head(dict(class_weight=None), num_classes=2, test_cfg=dict(score_thr=0.1)), 0),
    ],
)
def test_any_head(head, errors):
    assert len(list(find_model_errors(nn.Sequential(head), ('a', 'b'), 'train_dataloader'))) == errors


def test_heads_of_mmdet():
    """An RPN has a class of its own."""
    loss = dict(type='CrossEntropyLoss', class_weight=[1.0, 1.0, 1.0])
    box_head = BBoxHead(num_classes=2, loss_cls=loss)
    rpn = RPNHead(8, loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, class_weight=[2.0]))
    model = nn.ModuleDict(dict(bbox_head=rpn, head=box_head))  # the first name as in a detector that is an RPN alone
    assert list(find_model_errors(model, ('a', 'b'), 'train_dataloader')) == []
    rpn.loss_cls.class_weight = [1.0, 2.0]
    (error,) = find_model_errors(model, ('a', 'b'), 'train_dataloader')
    assert error.startswith('model.bbox_head.loss_cls.class_weight has 2 values; expected 1')
