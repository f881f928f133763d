import json
import re
from pathlib import Path
from typing import List, Union

import pytest
import torch
from mmdet.registry import METRICS

from mmthunder.datasets import AnnotationError

ID = Union[int, str]


def evaluate(path: Path, annotations: List[ID], images: List[ID], categories: List[ID]) -> float:
    """Compute the AP of two images whose one box each is detected exactly."""
    path.write_text(
        json.dumps(
            dict(
                images=[dict(id=i, file_name=f'{i}.jpg', width=64, height=48) for i in images],
                categories=[dict(id=i, name=f'class {i}') for i in categories],
                annotations=[
                    dict(id=i, image_id=image, category_id=categories[0], bbox=[5, 6, 20, 30], area=600, iscrowd=0)
                    for i, image in zip(annotations, images)
                ],
            )
        )
    )
    metric = METRICS.build(dict(type='CocoMetric', ann_file=str(path)))
    metric.dataset_meta = dict(classes=[f'class {i}' for i in categories])
    for image in images:
        detected = dict(bboxes=torch.tensor([[5.0, 6, 25, 36]]), scores=torch.tensor([0.9]), labels=torch.tensor([0]))
        metric.process({}, [dict(img_id=image, ori_shape=(48, 64), pred_instances=detected)])
    return metric.evaluate(len(images))['coco/bbox_mAP']


@pytest.mark.parametrize('annotations', [[1, 2], [0, 1], [7, 0], ['a', 'b'], [0, 'b']])
@pytest.mark.parametrize(('images', 'categories'), [([1, 2], [7, 9]), ([0, 1], [0, 1]), (['x', 'y'], ['cat', 'dog'])])
def test_any_ids(tmp_path, annotations, images, categories):
    """With pycocotools alone, id 0 counts as no match (AP 0.252 for [0, 1]) and texts fail."""
    assert evaluate(tmp_path / 'val.json', annotations, images, categories) == 1


@pytest.mark.parametrize(
    ('images', 'categories', 'section'), [([1, 'y'], [7, 9], 'images'), ([1, 2], [9, 'y'], 'categories')]
)
def test_numbers_and_texts(tmp_path, images, categories, section):
    """pycocotools sorts these ids."""
    path = tmp_path / 'val.json'
    message = f"{path}: {section}: 1 of 2 ids are texts, as 'y'; expected all numbers or all texts"
    with pytest.raises(AnnotationError, match=f'^{re.escape(message)}'):
        evaluate(path, [1, 2], images, categories)


def test_no_annotations(tmp_path):
    """COCO's lists of test images, with which results are only written."""
    (tmp_path / 'test.json').write_text(json.dumps(dict(images=[], categories=[])))
    METRICS.build(dict(type='CocoMetric', ann_file=str(tmp_path / 'test.json')))
