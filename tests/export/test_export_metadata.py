import json

import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config

from mmthunder.export.metadata import find_category_ids, read_category_ids


@pytest.fixture
def write(tmp_path):
    """A function that writes the categories of a.json, which the config's test set has."""

    def write(**ids: int) -> str:
        categories = [dict(id=value, name=name) for name, value in ids.items()]
        (tmp_path / 'a.json').write_text(json.dumps(dict(categories=categories)))
        return tmp_path / 'a.json'

    return write


@pytest.fixture
def cfg(tmp_path) -> Config:
    return Config(dict(test_dataloader=dict(dataset=dict(data_root=str(tmp_path), ann_file='a.json'))))


def test_of_the_checkpoint(cfg, write):
    """First, since it is what the detector was trained with."""
    write(cat=3, dog=7)
    meta = dict(classes=('cat', 'dog'), category_ids=[0, 1])
    assert find_category_ids(cfg, meta) == ([0, 1], None)
    with pytest.raises(ValueError, match='3 category_ids for 2 classes; give the ids with --category-ids'):
        find_category_ids(cfg, dict(meta, category_ids=[0, 1, 2]))


def test_of_the_data_set(cfg, write):
    """By name, in the order of the classes; of the training set where there is no test set."""
    write(dog=7, cat=3, cow=1)
    meta = dict(classes=('cat', 'dog'))
    assert find_category_ids(cfg, meta) == ([3, 7], None)
    train = dict(type='RepeatDataset', dataset=cfg.test_dataloader.dataset)
    cfg = Config(dict(train_dataloader=dict(dataset=train), test_dataloader=None))
    assert find_category_ids(cfg, meta) == ([3, 7], None)


def test_assumed(cfg):
    """A note says so and how to give them."""
    ids, note = find_category_ids(cfg, dict(classes=('cat', 'dog')))
    assert ids == [1, 2] and 'assumed to be 1 to 2' in note and '--category-ids' in note
    coco = CocoDataset.METAINFO['classes']
    ids, note = find_category_ids(cfg, dict(classes=coco))
    assert (len(ids), ids[0], ids[79], ids[coco.index('chair')]) == (80, 1, 90, 62) and "COCO's" in note


def test_annotation_file(write, tmp_path):
    assert read_category_ids(write(dog=7, cat=3), ['cat', 'dog']) == [3, 7]
    assert read_category_ids(write(dog=7), ['cat', 'dog']) is None
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(dict(categories=[dict(id=i, name='cat') for i in range(2)])))
    with pytest.raises(ValueError, match="a.json: has several categories called 'cat'"):
        read_category_ids(path, ['cat'])
    for text in ('no JSON', '{}', '{"categories": [{"id": 3}]}', '{"categories": 3}'):
        path.write_text(text)
        with pytest.raises(ValueError, match='a.json: not a COCO annotation file'):
            read_category_ids(path, ['cat'])
