import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from mmdet.datasets import CocoDataset, Objects365V1Dataset
from mmdet.registry import DATASETS
from mmengine.logging import MMLogger

from mmthunder.datasets import AnnotationError, DatasetReport, check_dataset, load_coco
from mmthunder.datasets.coco_annotations import find_coco_errors, find_unused

VALID = dict(
    images=[dict(id=1, file_name='a.jpg', width=64, height=48), dict(id=2, file_name='b.jpg', width=64, height=48.0)],
    categories=[dict(id=7, name='cat'), dict(id=9, name='dog')],
    annotations=[
        dict(id=1, image_id=1, category_id=7, bbox=[5, 6, 20, 30], area=600, iscrowd=0),
        dict(id=2, image_id=1, category_id=9, bbox=[-3.5, 6, 200, 30], area=600.5, iscrowd=1),
        dict(id=3, image_id=2, category_id=9, bbox=[1, 1, 1, 1], area=1, iscrowd=False, segmentation=[]),
    ],
)


@pytest.fixture
def data() -> dict:
    return copy.deepcopy(VALID)


def write(folder: Path, data: Any) -> str:
    path = folder / 'train.json'
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return str(path)


def check(
    path: str, training: bool = True, classes: tuple = ('cat', 'dog'), kind: str = 'CocoDataset'
) -> DatasetReport:
    cfg = dict(type=kind, ann_file=path, data_prefix=dict(img='images'), metainfo=dict(classes=classes), pipeline=[])
    return check_dataset(cfg, training)


def build(path: str, kind: type = CocoDataset) -> CocoDataset:
    """As mmdet does."""
    return kind(ann_file=path, data_prefix=dict(img='images'), metainfo=dict(classes=('cat', 'dog')), pipeline=[])


def test_accepts(data, tmp_path):
    path = write(tmp_path, data)
    assert load_coco(path) == data
    assert find_unused(data) == []
    report = check(path)
    assert report.errors == report.warnings == []
    assert report.image_ids == [1, 2] and report.counts == dict(cat=1, dog=2) and report.category_ids == [7, 9]
    infos = build(path)
    assert [len(infos.get_data_info(i)['instances']) for i in range(2)] == [2, 1]


def test_lists_of_test_images(data, tmp_path):
    """COCO's have no annotations; a warning says so, since it can also be a misspelt key."""
    del data['annotations']
    path = write(tmp_path, data)
    assert check(path).warnings == [f'{path}: has no annotations'] and check(path).errors == []


@pytest.mark.parametrize(
    ('section', 'field', 'value', 'message'),
    [
        ('images', 'file_name', None, 'images[1] with id 2: file_name is missing; expected the name of the image file'),
        ('images', 'file_name', 3, 'file_name is 3;'),
        ('images', 'file_name', '', "file_name is '';"),
        ('images', 'id', None, 'images[1] with id None: id is missing; expected an integer or a string'),
        ('images', 'id', 1, 'images[1] with id 1: id is 1; expected an id that no other entry has'),
        ('images', 'width', None, 'images[1] with id 2: width is missing; expected a number of pixels, at least 1'),
        ('images', 'width', 0, 'width is 0;'),
        ('images', 'height', '48', "height is '48';"),
        ('images', 'height', float('nan'), 'height is nan;'),
        ('images', 'height', True, 'height is True;'),
        ('images', 'height', 10**9, 'height is 1000000000;'),
        ('categories', 'name', None, 'categories[1] with id 9: name is missing'),
        (
            'categories',
            'name',
            'cat',
            "categories[1] with id 9: name is 'cat'; expected a name that no other category has",
        ),
        ('categories', 'id', 7, 'categories[1] with id 7: id is 7; expected an id that no other entry has'),
        ('annotations', 'id', None, 'annotations[2] with id None: id is missing'),
        ('annotations', 'id', 1, 'annotations[2] with id 1: id is 1; expected an id that no other entry has'),
        ('annotations', 'image_id', 5, 'annotations[2] with id 3: image_id is 5; expected the id of one of the images'),
        ('annotations', 'image_id', '2', "image_id is '2'; expected the id of one of the images"),
        ('annotations', 'image_id', [2], 'image_id is [2]; expected the id of an image'),
        ('annotations', 'category_id', 1, 'category_id is 1; expected the id of one of the categories'),
        ('annotations', 'bbox', None, 'annotations[2] with id 3: bbox is missing; expected [x, y, width, height]'),
        ('annotations', 'bbox', [1, 2, 3], 'bbox is [1, 2, 3]; expected'),
        ('annotations', 'bbox', ['1', '2', '3', '4'], "bbox is ['1', '2', '3', '4']; expected"),
        ('annotations', 'bbox', [1, 2, -3, 4], 'bbox is [1, 2, -3, 4]; expected'),
        ('annotations', 'bbox', [1, 2, 3, float('nan')], 'bbox is [1, 2, 3, nan]; expected'),
        ('annotations', 'bbox', [float('-inf'), 2, 3, 4], 'bbox is [-inf, 2, 3, 4]; expected'),
        ('annotations', 'bbox', [1, 2, 3, 10**400], 'bbox is [1, 2, 3, 1000'),
        ('annotations', 'bbox', {}, 'bbox is {}; expected'),
        ('annotations', 'area', None, 'area is missing; expected a finite number'),
        ('annotations', 'area', -1, 'area is -1; expected'),
        ('annotations', 'area', float('nan'), 'area is nan; expected'),
        ('annotations', 'iscrowd', None, 'iscrowd is missing; expected 0, or 1'),
        ('annotations', 'iscrowd', 2, 'iscrowd is 2; expected'),
    ],
)
def test_refuses(data, tmp_path, section, field, value, message):
    """In the last entry, so that all are looked at."""
    data[section][-1][field] = value
    if value is None:
        del data[section][-1][field]
    path = write(tmp_path, data)
    error, *_ = check(path).errors
    assert error.startswith(f'{path}: {section}[') and message in error
    assert '\n' not in error and len(error) < 400
    with pytest.raises(AnnotationError) as raised:
        load_coco(path)
    assert str(raised.value) == error


def test_all_errors_are_reported(data, tmp_path):
    """Those of fields together; those of references once fields are right."""
    data['images'][0]['width'] = 0
    del data['categories'][1]['name']
    data['annotations'][2].update(bbox=[1, 2], area='5', category_id=5)
    fields = [error.split(': ')[2].split()[0] for error in check(write(tmp_path, data)).errors]
    assert fields == ['width', 'name', 'bbox', 'area']
    data = copy.deepcopy(VALID)
    data['images'][1]['id'] = 1
    data['annotations'][2].update(category_id=5, id=1)
    fields = [error.split(': ')[2].split()[0] for error in check(write(tmp_path, data)).errors]
    assert fields == ['id', 'id', 'image_id', 'category_id']


def test_counts_wrong_entries(data):
    for annotation in data['annotations']:
        del annotation['bbox']
    (error,) = find_coco_errors('a.json', data)
    assert '[0] with id 1: bbox is missing (and in 2 other entries);' in error


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'not readable as JSON'),
        ('{"images": [', 'not readable as JSON'),
        ('[' * 100000, 'not readable as JSON'),
        ('{"images": 1' + '0' * 5000 + '}', 'not readable as JSON'),
        ('\ufeff{}', 'not readable as JSON'),  # pycocotools does not read it either
        ('[]', 'holds a list; expected an object with images'),
        ('3', 'holds a int'),
        ('{}', 'images is missing; expected a list'),
        ('{"images": {}}', 'images is not a list of objects'),
        ('{"images": [3]}', 'images is not a list of objects'),
        ('{"images": [], "categories": []}', None),
        ('{"images": [], "categories": [], "annotations": null}', 'annotations is not a list of objects'),
    ],
)
def test_other_files(tmp_path, text, message):
    path = write(tmp_path, text)
    if message is None:
        load_coco(path)
    else:
        error = check(path).errors[0]
        assert error.startswith(f'{path}: {message}') and '\n' not in error


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / 'a.json').write_bytes(b'\xff\xfe\x00{')
    with pytest.raises(AnnotationError, match='a.json: not readable as JSON'):
        load_coco(str(tmp_path / 'a.json'))


def test_what_is_not_used_is_reported(data, tmp_path):
    """mmdet skips these silently."""
    boxes = [[70, 5, 10, 10], [5, 5, 0.5, 10], [5, 5, 10, 0], [-20, 5, 10, 10], [5, 48, 10, 10], [5, 5, 10, 10]]
    data['annotations'] = [
        dict(id=10 + i, image_id=1, category_id=7, bbox=box, area=0 if i == 5 else 100, iscrowd=0)
        for i, box in enumerate(boxes)
    ] + [dict(id=20, image_id=2, category_id=7, bbox=[63, 47, 10, 10], area=100, iscrowd=0)]
    path = write(tmp_path, data)
    dataset = build(path)
    assert [len(dataset.get_data_info(i)['instances']) for i in range(2)] == [0, 1]
    (warning,) = check(path).warnings
    assert warning.startswith(f'{path}: 6 of 7 annotations are not used')
    assert 'ids are [10, 11, 12, 13, 14, 15]' in warning


class TestClassList:
    def test_names_of_coco_in_another_order(self, data, tmp_path):
        """As many as COCO has, but the labels would be those of other classes."""
        names = CocoDataset.METAINFO['classes']
        data['annotations'] = []
        data['categories'] = [dict(id=i, name=name) for i, name in enumerate(names)]
        assert check(write(tmp_path, data), classes=names).errors == []
        data['categories'].sort(key=lambda category: category['name'])
        (error,) = check(write(tmp_path, data), classes=names).errors
        assert 'train.json: metainfo lists' in error and "classes=('airplane', 'apple', " in error

    def test_objects365(self, data, tmp_path):
        """mmdet sorts the categories of the first version's files."""
        data['categories'].reverse()
        for image in data['images']:
            image['file_name'] = 'patch0/' + image['file_name']
        path = write(tmp_path, data)
        instances = build(path, Objects365V1Dataset).get_data_info(0)['instances']
        assert [instance['bbox_label'] for instance in instances] == [0, 1]
        assert check(path, kind='Objects365V1Dataset').errors == []
        (error,) = check(path, kind='Objects365V2Dataset').errors
        assert "the order of the categories; set metainfo=dict(classes=('dog', 'cat'))" in error
        data['categories'].reverse()
        assert check(write(tmp_path, data), kind='Objects365V2Dataset').errors == []
        del data['annotations'][0]['bbox']
        for kind in ('Objects365V1Dataset', 'Objects365V2Dataset'):
            assert 'bbox is missing' in check(write(tmp_path, data), kind=kind).errors[0]

    @pytest.mark.parametrize('classes', [('cat', 'dog'), ('dog', 'cat')])
    def test_labels_are_those_of_mmdet(self, data, tmp_path, classes):
        """The advice of the error gives the labels that the file has."""
        path = write(tmp_path, data)
        report = check(path, classes=classes)
        dataset = CocoDataset(
            ann_file=path, data_prefix=dict(img=''), metainfo=dict(classes=report.labels), pipeline=[]
        )
        names = {category['id']: category['name'] for category in data['categories']}
        for i, image in enumerate(data['images']):
            labels = [report.labels[instance['bbox_label']] for instance in dataset.get_data_info(i)['instances']]
            annotations = [entry for entry in data['annotations'] if entry['image_id'] == image['id']]
            assert labels == [names[entry['category_id']] for entry in annotations]
        assert bool(report.errors) == (classes != ('cat', 'dog'))
        assert check(path, classes=report.labels).errors == []
        assert check(path, training=False, classes=classes).errors == []

    def test_missing_categories(self, data, tmp_path):
        """In training they shift mmdet's labels; in a test they are not evaluated."""
        path = write(tmp_path, data)
        (error,) = check(path, classes=('cat', 'cow', 'dog')).errors
        assert "['cow'] of metainfo are not among the categories" in error and "add ['cow'] to the categories" in error
        report = check(path, training=False, classes=('cat', 'cow', 'dog'))
        assert report.errors == [] and report.category_ids == [7, None, 9]
        assert report.warnings == [f"{path}: has no categories ['cow'], so that these classes are not evaluated"]
        # As the error advises.
        data['categories'].insert(1, dict(id=1, name='cow'))
        assert check(write(tmp_path, data), classes=('cat', 'cow', 'dog')).errors == []

    @pytest.mark.parametrize('training', [True, False])
    def test_misspelt(self, data, tmp_path, training):
        path = write(tmp_path, data)
        (error,) = check(path, training, classes=('cat', 'dgo')).errors
        assert error.startswith(f"{path}: the classes ['dgo'] of metainfo are not among the categories, which have")
        assert "['dog'] that metainfo does not" in error

    def test_no_categories(self, data, tmp_path):
        """A list of images alone has no labels that could be wrong."""
        data.update(categories=[], annotations=[])
        assert check(write(tmp_path, data), training=False).errors == []

    @pytest.mark.parametrize(
        ('classes', 'message'),
        [
            ('cat', "is the string 'cat'; expected a list of names, of one class as classes=('cat',)"),
            ((), 'is (); expected a list'),
            (None, 'is None; expected a list'),
            ((1, 2), "has 1; expected names, which are strings, as '1'"),
            (('cat', ''), "has ''; expected names"),
            (('cat', 'dog', 'cat'), "has ['cat'] more than once"),
        ],
    )
    def test_no_list_of_names(self, data, tmp_path, classes, message):
        (error,) = check(write(tmp_path, data), classes=classes).errors
        assert error.startswith('dataset: metainfo.classes ') and message in error

    def test_list_in_a_file(self, data, tmp_path):
        """mmengine reads it."""
        (tmp_path / 'classes.txt').write_text('cat\ndog\n')
        assert check(write(tmp_path, data), classes=str(tmp_path / 'classes.txt')).labels == ('cat', 'dog')

    @pytest.mark.parametrize(
        ('classes', 'message'), [(('cat',), "2 'dog'"), (('dog',), "1 'cat'"), (('cat', 'dog'), None)]
    )
    def test_objects_of_other_classes_are_reported(self, data, tmp_path, classes, message):
        """Each category once, and those without objects not at all."""
        data['categories'].append(dict(id=1, name='cow'))
        path = write(tmp_path, data)
        expected = f'{path}: objects that are not used, since metainfo does not list their classes: '
        assert check(path, classes=classes).warnings == ([expected + message] if message else [])


def test_warnings_are_logged(data, tmp_path, caplog):
    del data['annotations']
    logger = MMLogger.get_current_instance()
    logger.setLevel(logging.WARNING)
    logger.addHandler(caplog.handler)
    check(write(tmp_path, data)).raise_errors()
    assert 'has no annotations' in caplog.text


@pytest.mark.parametrize('kind', ['LVISV1Dataset', 'CocoPanopticDataset', 'CocoCaptionDataset'])
def test_other_annotations_are_not_checked(tmp_path, kind):
    """Their fields are others."""
    cfg = dict(type=kind, ann_file='nowhere.json', data_prefix=dict(img=''), pipeline=[])
    report = check_dataset(cfg)
    assert not report.is_checked and report.errors == []


@DATASETS.register_module(force=True)
class OwnOrderDataset(CocoDataset):
    """A user's, which numbers the labels by the class list."""

    def load_data_list(self) -> list:
        return super().load_data_list()


@DATASETS.register_module(force=True)
class OwnArgumentsDataset(CocoDataset):
    def __init__(self, ann_file: str) -> None:
        super().__init__(ann_file=ann_file, pipeline=[])


def test_own_data_sets(data, tmp_path):
    """Their annotations are checked, the order of their labels is their own."""
    path = write(tmp_path, data)
    assert check(path, classes=('dog', 'cat'), kind='OwnOrderDataset').errors == []
    assert check(path, classes=['dog', 'cow', 'cat'], kind='OwnOrderDataset').errors == []
    del data['annotations'][0]['bbox']
    assert 'bbox is missing' in check(write(tmp_path, data), kind='OwnOrderDataset').errors[0]
    assert not check_dataset(dict(type='OwnArgumentsDataset', ann_file=path)).is_checked
