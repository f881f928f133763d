"""Evaluators that would compute a wrong AP are refused, or replaced by one that is right."""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any, Callable

import pytest
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.config import Config
from mmengine.evaluator import Evaluator

from mmthunder.datasets import AnnotationError, check_dataset
from mmthunder.engine.runner.evaluator_check import find_evaluator_errors, replace_coco_metrics
from mmthunder.evaluation import ThunderCocoMetric


@METRICS.register_module(force=True)
class OwnCocoMetric(CocoMetric):
    """A user's."""


@pytest.fixture
def root(shapes, tmp_path) -> Path:
    return shutil.copytree(shapes, tmp_path / 'shapes')


@pytest.fixture
def dataset(tiny_cfg, root) -> dict:
    """Config of a test set, whose file tests change."""
    return dict(tiny_cfg.test_dataloader.dataset, data_root=f'{root}/')


@pytest.fixture
def change(root) -> Callable:
    def change(edit: Callable[[dict], Any], name: str = 'val') -> None:
        path = root / f'annotations/{name}.json'
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))

    return change


def errors(evaluator: Any, *datasets: dict) -> list:
    reports = [check_dataset(dataset, training=False, key='test_dataloader.dataset') for dataset in datasets]
    assert not any(report.errors for report in reports)
    return list(find_evaluator_errors('test', evaluator, reports, list(datasets)))


def with_number(content: dict) -> None:
    content['annotations'][0]['id'] = 0


def with_text(content: dict) -> None:
    for entry in content['annotations']:
        entry['id'] = str(entry['id'])


def with_other_ids(content: dict) -> None:
    for section, key in (('categories', 'id'), ('annotations', 'category_id')):
        for entry in content[section]:
            entry[key] = 10 - entry[key]


@pytest.mark.parametrize(
    ('edit', 'options', 'message'),
    [
        (None, {}, None),
        (lambda content: content['categories'].reverse(), {}, 'the categories .* are not in the order of metainfo'),
        (with_number, {}, 'has ids that are 0 or strings'),
        (with_text, {}, 'has ids that are 0 or strings'),
        (with_other_ids, {}, 'has category ids that do not ascend'),
        (None, dict(indices=2), 'has images that test_dataloader.dataset leaves out'),
        (None, dict(test_mode=False, filter_cfg=dict(filter_empty_gt=True)), 'has images that'),
    ],
)
def test_faults_of_mmdets_metric(dataset, root, change, edit, options, message):
    """Metrics that are derived from it or built already are refused, ours is right, and its configs become ours."""
    if edit:
        change(edit)
    dataset.update(options)
    metric = dict(type='OwnCocoMetric', ann_file=f'{root}/annotations/val.json', classwise=True)
    built = METRICS.build(dict(metric, type='CocoMetric'))
    for evaluator in (metric, [metric], dict(metrics=[metric]), built, [built], Evaluator([built])):
        found = errors(evaluator, dataset)
        assert len(found) == (message is not None)
        for error in found:
            assert error.startswith(f'{root}/annotations/val.json: ') and '\n' not in error
            assert f'test_evaluator{"" if evaluator in (metric, built) else "."}' in error
            assert ".type='ThunderCocoMetric'" in error
            assert re.search(message, error)
    for kind in ('ThunderCocoMetric', ThunderCocoMetric):
        assert errors(dict(metric, type=kind), dataset) == []
    for kind in ('CocoMetric', 'mmdet.CocoMetric', CocoMetric):
        assert errors(replace_coco_metrics(dict(metric, type=kind)), dataset) == []


@pytest.mark.parametrize('metric', [dict(type='ThunderCocoMetric'), dict(type='VOCMetric'), dict(type='OwnCocoMetric')])
def test_labels_of_another_order(dataset, root, change, metric):
    """The ground truth that comes with the images has mmdet's labels; the advice of the error mends it."""
    change(lambda content: content['categories'].reverse())
    (error,) = errors(metric, dataset)
    assert f"set test_evaluator.type='ThunderCocoMetric' and test_evaluator.ann_file='{root}/annotations/val" in error
    assert errors(dict(type='ThunderCocoMetric', ann_file=f'{root}/annotations/val.json'), dataset) == []
    assert errors(dict(type='DumpDetResults', out_file_path='a.pkl'), dataset) == []


class TestSeveralDatasets:
    @pytest.fixture
    def other(self, dataset, root, change) -> dict:
        """Whose images have other ids."""
        shutil.copy(root / 'annotations/val.json', root / 'annotations/other.json')

        def edit(content: dict) -> None:
            for image in content['images']:
                image['id'] += 100
            for entry in content['annotations']:
                entry['image_id'] += 100

        change(edit, 'other')
        return dict(dataset, ann_file='annotations/other.json')

    def test_same_ids(self, dataset):
        """Whose detections would be mixed."""
        (error,) = errors(dict(type='ThunderCocoMetric'), dataset, dataset)
        assert 'both have an image with id' in error
        assert errors(dict(type='VOCMetric'), dataset, dataset) == []

    def test_file_of_all(self, dataset, other, root):
        files = [json.loads((root / f'annotations/{name}.json').read_text()) for name in ('val', 'other')]
        merged = {key: files[0][key] + files[1][key] for key in ('images', 'annotations')}
        for i, entry in enumerate(merged['annotations']):
            entry['id'] = i
        path = root / 'annotations/all.json'
        path.write_text(json.dumps(dict(merged, categories=files[0]['categories'])))
        assert errors(dict(type='ThunderCocoMetric', ann_file=str(path)), dataset, other) == []
        assert errors(dict(type='ThunderCocoMetric'), dataset, other) == []
        (error,) = errors(dict(type='ThunderCocoMetric', ann_file=f'{root}/annotations/val.json'), dataset, other)
        assert 'val.json, which has no image with id 10' in error and 'other.json' in error


def test_replaced(tiny_cfg):
    metric = dict(type='CocoMetric', ann_file='a.json')
    ours = dict(metric, type=ThunderCocoMetric)
    own = dict(type='OwnCocoMetric')
    built = CocoMetric()
    for evaluator, expected in (
        (metric, ours),
        ([metric, own], [ours, own]),
        (dict(metrics=metric), dict(metrics=ours)),
        (dict(type='Evaluator', metrics=[own, metric]), dict(type='Evaluator', metrics=[own, ours])),
        (built, built),
        (None, None),
    ):
        before = copy.deepcopy(evaluator) if evaluator is not built else built
        assert replace_coco_metrics(evaluator) == expected and evaluator == before


def test_in_a_run(tiny_cfg: Config, build_runner):
    """Of a config with mmdet's own metric."""
    tiny_cfg.val_evaluator.type = tiny_cfg.test_evaluator.type = 'CocoMetric'
    runner = build_runner(tiny_cfg)
    assert type(runner.test_evaluator.metrics[0]) is ThunderCocoMetric
    tiny_cfg.test_dataloader.dataset.indices = 2
    tiny_cfg.test_evaluator.type = 'OwnCocoMetric'
    with pytest.raises(AnnotationError, match='leaves out'):
        build_runner(tiny_cfg).test()


def test_other_annotations(shared):
    """A COCO file of a Pascal VOC dataset."""
    dataset = dict(
        type='XMLDataset',
        data_root=f'{shared}/data/BCCD/',
        ann_file='ImageSets/Main/val.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=('RBC', 'WBC', 'Platelets')),
        pipeline=[],
    )
    assert errors(dict(type='ThunderCocoMetric', ann_file='val.json'), dataset) == []
