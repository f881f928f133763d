import itertools
import json
from pathlib import Path
from typing import Any, List, Optional, Sequence

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS

BOX = [5.0, 6, 25, 36]


class Case:
    """An annotation file and its detections: one box of each class in each image, side by side.

    Args:
        path (Path): Where the file is written.
        categories (Sequence[str]): The categories of the file, in its order.
        ids (Sequence, optional): Their ids. Defaults to None: 1, 2, ...
        images (Sequence): Ids of the images.
        annotations (Sequence, optional): Ids of the annotations. Defaults to None: 1, 2, ...
    """

    def __init__(
        self,
        path: Path,
        categories: Sequence[str],
        ids: Optional[Sequence] = None,
        images: Sequence = (1, 2),
        annotations: Optional[Sequence] = None,
    ) -> None:
        self.path, self.categories, self.images = path / 'val.json', categories, images
        ids = ids or range(1, len(categories) + 1)
        self.boxes = {name: [10.0 + 40 * i, 6, 30 + 40 * i, 36] for i, name in enumerate(sorted(categories))}
        pairs = list(itertools.product(images, zip(categories, ids)))
        self.path.write_text(
            json.dumps(
                dict(
                    images=[dict(id=i, file_name=f'{i}.jpg', width=640, height=48) for i in images],
                    categories=[dict(id=key, name=name) for name, key in zip(categories, ids)],
                    annotations=[
                        dict(
                            id=annotation,
                            image_id=image,
                            category_id=key,
                            bbox=[self.boxes[name][0], 6, 20, 30],
                            area=600,
                            iscrowd=0,
                        )
                        for annotation, (image, (name, key)) in zip(annotations or itertools.count(1), pairs)
                    ],
                )
            )
        )

    def evaluate(
        self, classes: Sequence[str], images: Optional[Sequence] = None, missed: Sequence[str] = (), **options
    ) -> dict:
        """Evaluate detections of all classes but the missed ones, exact for those that the file has."""
        metric = METRICS.build(dict(dict(type='ThunderCocoMetric', ann_file=str(self.path), classwise=True), **options))
        metric.dataset_meta = dict(classes=classes)
        images = self.images if images is None else images
        names = [name for name in classes if name not in missed]
        for image in images:
            boxes = torch.tensor([self.boxes.get(name, BOX) for name in names]).reshape(-1, 4)
            detections = dict(
                bboxes=boxes,
                scores=torch.linspace(0.9, 0.5, len(names)),
                labels=torch.tensor([classes.index(name) for name in names]),
            )
            metric.process({}, [dict(img_id=image, ori_shape=(48, 640), pred_instances=detections)])
        return metric.evaluate(len(images))


@pytest.mark.parametrize('annotations', [[1, 2], [0, 1], [7, 0], ['a', 'b'], [0, 'b']])
@pytest.mark.parametrize('images', [[1, 2], [0, 1], ['x', 'y'], [1, 'y']])
@pytest.mark.parametrize('category', [7, 0, 'cat'])
def test_any_ids(tmp_path, annotations, images, category):
    """With pycocotools alone, id 0 counts as no match (AP 0.252 for [0, 1]) and strings fail."""
    case = Case(tmp_path, ['cat'], [category], images, annotations)
    assert case.evaluate(['cat'])['coco/bbox_mAP'] == 1


NAMES = ['ant', 'bee', 'cat', 'dog']


@pytest.mark.parametrize('categories', list(itertools.permutations(NAMES)))
def test_order_of_the_categories(tmp_path, categories):
    """Labels are those of the class list, whatever the order of the file."""
    metrics = Case(tmp_path, categories).evaluate(NAMES, missed=['bee', 'dog'])
    assert metrics['coco/bbox_mAP'] == 0.5
    assert [metrics[f'coco/{name}_precision'] for name in NAMES] == [1, 0, 1, 0]


@pytest.mark.parametrize('ids', list(itertools.permutations([2, 10, 5, 7])))
def test_ids_that_do_not_ascend(tmp_path, ids):
    """pycocotools sorts them, so that mmdet gives class-wise APs to other classes."""
    metrics = Case(tmp_path, NAMES, ids).evaluate(NAMES, missed=['ant'])
    assert [metrics[f'coco/{name}_precision'] for name in NAMES] == [0, 1, 1, 1]


@pytest.mark.parametrize('ids', [['9', '10', '1', '2'], [1, 'b', 3, 'd']])
def test_category_ids_of_text(tmp_path, ids):
    metrics = Case(tmp_path, NAMES, ids).evaluate(NAMES, missed=['cat'])
    assert [metrics[f'coco/{name}_precision'] for name in NAMES] == [1, 1, 0, 1]


@pytest.mark.parametrize('missing', NAMES)
def test_fewer_categories(tmp_path, missing):
    """A class that the file lacks is not evaluated: its detections do not count, the labels of others do not shift."""
    case = Case(tmp_path, [name for name in NAMES if name != missing][::-1])
    metrics = case.evaluate(NAMES)
    assert metrics['coco/bbox_mAP'] == 1 and np.isnan(metrics[f'coco/{missing}_precision'])
    assert case.evaluate([missing, 'other'])['coco/bbox_mAP'] == -1  # pycocotools' value without any object


def test_more_categories(tmp_path):
    """Objects of other classes do not count."""
    assert Case(tmp_path, NAMES).evaluate(['dog', 'ant'])['coco/bbox_mAP'] == 1


@pytest.mark.parametrize('tested', [[1], [3, 2], [4, 1, 2]])
def test_part_of_the_images(tmp_path, tested):
    """Objects of images that were not tested are not missed."""
    case = Case(tmp_path, NAMES, images=[1, 2, 3, 4])
    assert case.evaluate(NAMES, tested)['coco/bbox_mAP'] == 1
    proposals = case.evaluate(NAMES, tested, metric=['proposal', 'proposal_fast'])
    assert proposals['coco/AR@100'] == 1


def test_repeated_images(tmp_path):
    """As by RepeatDataset: their second detections are not false positives."""
    metrics = Case(tmp_path, NAMES, images=[1, 2]).evaluate(NAMES, [1, 2, 1, 2], missed=['ant'])
    assert metrics['coco/bbox_mAP'] == 0.75


def test_other_images(tmp_path):
    with pytest.raises(ValueError, match=r"no image with id 'x' \(and 1 others"):
        Case(tmp_path, NAMES).evaluate(NAMES, [1, 'x', 'y'])


@pytest.mark.parametrize('mp_eval', [False, True])
def test_no_detections(tmp_path, mp_eval):
    """AP is 0, and not missing, as early in a training."""
    metrics = Case(tmp_path, 'ab').evaluate('ab', missed='ab', use_mp_eval=mp_eval)
    assert metrics['coco/bbox_mAP'] == metrics['coco/bbox_mAP_50'] == 0
    assert metrics['coco/a_precision'] == metrics['coco/b_precision'] == 0


def test_overall_first(tmp_path):
    """save_best='auto' takes the first one."""
    names = [*NAMES, 'a "b"/c é']
    metrics = Case(tmp_path, names).evaluate(names)
    assert next(iter(metrics)) == 'coco/bbox_mAP' and 'coco/a "b"/c é_precision' in metrics
    kinds = [key.endswith('_precision') for key in metrics]
    assert kinds == sorted(kinds) and sum(kinds) == 5


@pytest.mark.parametrize('mp_eval', [False, True])
def test_evaluated_again(tmp_path, mp_eval):
    """In the next validation of the same training; with mmdet's faster evaluation too."""
    case = Case(tmp_path, NAMES[::-1], images=['a', 'b'])
    metric = METRICS.build(dict(type='ThunderCocoMetric', ann_file=str(case.path), use_mp_eval=mp_eval))
    metric.dataset_meta = dict(classes=NAMES)
    for images in (['a', 'b'], ['b'], ['a', 'b']):
        for image in images:
            detections = dict(
                bboxes=torch.tensor([case.boxes['ant']]), scores=torch.tensor([0.5]), labels=torch.tensor([0])
            )
            metric.process({}, [dict(img_id=image, ori_shape=(48, 640), pred_instances=detections)])
        assert metric.evaluate(len(images))['coco/bbox_mAP'] == 0.25


def test_masks(tmp_path):
    case = Case(tmp_path, NAMES[::-1])
    content = json.loads(case.path.read_text())
    for entry in content['annotations']:
        x, y, w, h = entry['bbox']
        entry['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    content['categories'] = [category for category in content['categories'] if category['name'] != 'bee']
    content['annotations'] = [entry for entry in content['annotations'] if entry['category_id'] != 3]
    case.path.write_text(json.dumps(content))
    metric = METRICS.build(dict(type='ThunderCocoMetric', ann_file=str(case.path), metric=['bbox', 'segm']))
    metric.dataset_meta = dict(classes=NAMES)
    masks = torch.zeros(4, 48, 640, dtype=torch.bool)
    boxes = torch.tensor([case.boxes[name] for name in NAMES])
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
        mask[y1:y2, x1:x2] = True
    detections = dict(
        bboxes=boxes, scores=torch.ones(4), mask_scores=torch.ones(4), labels=torch.arange(4), masks=masks
    )
    for image in case.images:
        metric.process({}, [dict(img_id=image, ori_shape=(48, 640), pred_instances=detections)])
    metrics = metric.evaluate(2)
    assert metrics['coco/bbox_mAP'] == metrics['coco/segm_mAP'] == 1


@pytest.mark.parametrize('options', [{}, dict(format_only=True)])
def test_results_have_the_ids_of_the_file(tmp_path, options):
    case = Case(tmp_path, ['dog', 'ant'], [90, 18], images=['x', 'y'])
    case.evaluate(['ant', 'cat', 'dog'], ['y'], outfile_prefix=str(tmp_path / 'results'), **options)
    results: List[Any] = json.loads((tmp_path / 'results.bbox.json').read_text())
    assert [(entry['image_id'], entry['category_id']) for entry in results] == [('y', 18), ('y', 90)]


def test_without_annotations(tmp_path):
    """COCO's lists of test images, with which results are only written."""
    case = Case(tmp_path, NAMES)
    content = json.loads(case.path.read_text())
    del content['annotations']
    case.path.write_text(json.dumps(content))
    assert case.evaluate(NAMES, format_only=True, outfile_prefix=str(tmp_path / 'results')) == {}
    assert len(json.loads((tmp_path / 'results.bbox.json').read_text())) == 8


def test_ground_truth_of_the_images(tmp_path):
    """Without ann_file, as for Pascal VOC."""
    metric = METRICS.build(dict(type='ThunderCocoMetric', classwise=True))
    metric.dataset_meta = dict(classes=NAMES)
    instances = [dict(bbox=[10, 6, 30, 36], bbox_label=label, ignore_flag=0) for label in (2, 0)]
    for image in ('x', 7):
        detections = dict(
            bboxes=torch.tensor([[10.0, 6, 30, 36]]), scores=torch.tensor([0.5]), labels=torch.tensor([2])
        )
        sample = dict(img_id=image, ori_shape=(48, 640), pred_instances=detections, instances=instances)
        metric.process({}, [sample])
    metrics = metric.evaluate(2)
    assert (metrics['coco/bbox_mAP'], metrics['coco/ant_precision'], metrics['coco/cat_precision']) == (0.5, 0, 1)


def test_validations_after_the_first():
    """Without ann_file, each takes the ground truth of its own images."""
    metric = METRICS.build(dict(type='ThunderCocoMetric'))
    metric.dataset_meta = dict(classes=('a', 'b'))
    box = torch.tensor([[10.0, 10.0, 60.0, 60.0]])

    def validate(label: int) -> float:
        sample = dict(
            img_id=7,
            ori_shape=(100, 100),
            instances=[dict(bbox=box[0].tolist(), bbox_label=label, ignore_flag=0)],
            pred_instances=dict(bboxes=box, scores=torch.tensor([0.9]), labels=torch.tensor([1])),
        )
        metric.process({}, [sample])
        return metric.evaluate(1)['coco/bbox_mAP']

    assert [validate(label) for label in (1, 0, 1)] == [1, 0, 1]
