import copy
import json
import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest
from mmdet.datasets import CocoDataset, Objects365V1Dataset, Objects365V2Dataset
from mmengine.logging import MMLogger

from mmthunder.datasets import AnnotationError
from mmthunder.datasets.coco_annotations import CheckedCOCO, check_annotations, find_unused

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


def build(path: str) -> CocoDataset:
    return CocoDataset(
        ann_file=path, data_prefix=dict(img='images'), metainfo=dict(classes=('cat', 'dog')), pipeline=[]
    )


def test_accepts(data, tmp_path):
    check_annotations('a.json', data)
    assert find_unused(data) == []
    infos = build(write(tmp_path, data))
    assert [len(infos.get_data_info(i)['instances']) for i in range(2)] == [2, 1]


def test_lists_of_test_images(data, tmp_path, caplog):
    """COCO's have no annotations; a message says so, since it can also be a misspelt key."""
    del data['annotations']
    logger = MMLogger.get_current_instance()
    logger.setLevel(logging.WARNING)
    logger.addHandler(caplog.handler)
    path = write(tmp_path, data)
    assert len(build(path)) == 2
    assert f'{path}: has no annotations' in caplog.text


@pytest.mark.parametrize(
    ('section', 'field', 'value', 'message'),
    [
        ('images', 'file_name', None, 'images[1] with id 2: file_name is missing; expected the name of the image file'),
        ('images', 'file_name', 3, 'file_name is 3;'),
        ('images', 'file_name', '', "file_name is '';"),
        ('images', 'id', None, 'images[1] with id None: id is missing; expected a number or a text'),
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
    with pytest.raises(AnnotationError) as error:
        build(path)
    assert str(error.value).startswith(f'{path}: {section}[') and message in str(error.value)
    assert '\n' not in str(error.value) and len(str(error.value)) < 400


def test_counts_wrong_entries(data):
    for annotation in data['annotations']:
        del annotation['bbox']
    with pytest.raises(AnnotationError, match=r'\[0\] with id 1: bbox is missing \(and in 2 other entries\);'):
        check_annotations('a.json', data)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'not readable as JSON'),
        ('{"images": [', 'not readable as JSON'),
        ('[' * 100000, 'not readable as JSON'),
        ('{"images": 1' + '0' * 5000 + '}', 'not readable as JSON'),
        ('[]', 'holds no object; expected one with images'),
        ('3', 'holds no object'),
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
        CheckedCOCO(path)
    else:
        with pytest.raises(AnnotationError, match=f'^{re.escape(path)}: {message}') as error:
            build(path)
        assert '\n' not in str(error.value)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / 'a.json').write_bytes(b'\xff\xfe\x00{')
    with pytest.raises(AnnotationError, match='a.json: not readable as JSON'):
        CheckedCOCO(str(tmp_path / 'a.json'))


def test_what_is_not_used_is_told(data, tmp_path, caplog):
    """mmdet leaves these out without a word."""
    boxes = [[70, 5, 10, 10], [5, 5, 0.5, 10], [5, 5, 10, 0], [-20, 5, 10, 10], [5, 48, 10, 10], [5, 5, 10, 10]]
    data['annotations'] = [
        dict(id=10 + i, image_id=1, category_id=7, bbox=box, area=0 if i == 5 else 100, iscrowd=0)
        for i, box in enumerate(boxes)
    ] + [dict(id=20, image_id=2, category_id=7, bbox=[63, 47, 10, 10], area=100, iscrowd=0)]
    path = write(tmp_path, data)
    logger = MMLogger.get_current_instance()
    logger.setLevel(logging.WARNING)
    logger.addHandler(caplog.handler)
    dataset = build(path)
    assert [len(dataset.get_data_info(i)['instances']) for i in range(2)] == [0, 1]
    assert f'{path}: 6 of 7 annotations are not used' in caplog.text
    assert 'ids are [10, 11, 12, 13, 14, 15]' in caplog.text


class TestClassList:
    @staticmethod
    def build(folder: Path, data: dict, kind: type = CocoDataset, **kwargs) -> CocoDataset:
        return kind(ann_file=write(folder, data), data_prefix=dict(img='images'), pipeline=[], **kwargs)

    def test_names_of_coco_in_another_order(self, data, tmp_path):
        """As many as COCO has, but the labels would be those of other classes."""
        data['annotations'] = []
        data['categories'] = [dict(id=i, name=name) for i, name in enumerate(CocoDataset.METAINFO['classes'])]
        assert len(self.build(tmp_path, data)) == 2
        data['categories'].sort(key=lambda category: category['name'])
        with pytest.raises(AnnotationError, match=r"^.*train.json: metainfo lists .*\(classes=\('airplane', 'apple', "):
            self.build(tmp_path, data)

    def test_objects365(self, data, tmp_path):
        """mmdet sorts the categories of the first version's files."""
        data['categories'].reverse()
        for image in data['images']:
            image['file_name'] = 'patch0/' + image['file_name']
        metainfo = dict(classes=('cat', 'dog'))
        dataset = self.build(tmp_path, data, Objects365V1Dataset, metainfo=metainfo)
        assert [instance['bbox_label'] for instance in dataset.get_data_info(0)['instances']] == [0, 1]
        with pytest.raises(AnnotationError, match=r"the order of the categories; .*\(classes=\('dog', 'cat'\)\)"):
            self.build(tmp_path, data, Objects365V2Dataset, metainfo=metainfo)
        data['categories'].reverse()
        assert len(self.build(tmp_path, data, Objects365V2Dataset, metainfo=metainfo)) == 2
        del data['annotations'][0]['bbox']
        for kind in (Objects365V1Dataset, Objects365V2Dataset):
            with pytest.raises(AnnotationError, match='bbox is missing'):
                self.build(tmp_path, data, kind, metainfo=metainfo)

    def test_classes_without_objects(self, data, tmp_path):
        """The file lists its categories."""
        data['annotations'] = []
        assert len(self.build(tmp_path, data, metainfo=dict(classes=('cat', 'dog')))) == 2
        with pytest.raises(AnnotationError, match=r"\['cow'\] of metainfo are not among the cat.* have \[\]"):
            self.build(tmp_path, data, metainfo=dict(classes=('cat', 'dog', 'cow')))

    def test_no_categories(self, data, tmp_path):
        """A list of images alone has no labels that could be wrong."""
        data.update(categories=[], annotations=[])
        assert len(self.build(tmp_path, data)) == 2

    @pytest.mark.parametrize(
        ('classes', 'message'), [(('cat',), "2 'dog'"), (('dog',), "1 'cat'"), (('cat', 'dog'), None)]
    )
    def test_objects_of_other_classes_are_told(self, data, tmp_path, caplog, classes, message):
        """Each category once, and those without objects not at all."""
        data['categories'].append(dict(id=1, name='cow'))
        logger = MMLogger.get_current_instance()
        logger.setLevel(logging.WARNING)
        logger.addHandler(caplog.handler)
        self.build(tmp_path, data, metainfo=dict(classes=classes))
        expected = f'{tmp_path}/train.json: objects that are not used, since metainfo does not list their classes: '
        assert [record.getMessage() for record in caplog.records] == ([expected + message] if message else [])


def test_large_files():
    """100,000 images with 700,000 boxes: seconds beside the minute that mmdet takes for them."""
    images = [dict(id=i, file_name=f'{i}.jpg', width=640, height=480) for i in range(10000)]
    annotations = [
        dict(id=i, image_id=i // 7, category_id=i % 80, bbox=[1.5, 2.5, 30.5, 40.5], area=1235.25, iscrowd=0)
        for i in range(70000)
    ]
    data = dict(images=images, annotations=annotations, categories=[dict(id=i, name=str(i)) for i in range(80)])
    start = time.process_time()
    check_annotations('a.json', data)
    assert find_unused(data) == []
    # A tenth of the file; the processor's own time, in which it takes 0.15 s.
    assert time.process_time() - start < 2
