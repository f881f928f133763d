"""COCO metric that matches categories by name and evaluates the images that were tested."""

import logging
import os.path as osp
import tempfile
from collections import OrderedDict
from typing import Any, Dict, List, Sequence

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.logging import print_log


class NumberedCOCO(COCO):
    """A part of COCO annotations with numbers of its own, as pycocotools needs them.

    Categories are numbered from 1 in the order of the labels, images from 1 in the order in which they were tested,
    annotations from 1.

    Args:
        annotations (COCO): The annotations of a file.
        classes (Sequence[str]): Names of the classes, in the order of the labels.
        image_ids (Sequence): Ids of the images in the file.

    Attributes:
        file_ids (list): Ids in the file of the categories of each label; None for classes that the file lacks.

    Raises:
        ValueError: If the file lacks an image.
    """

    def __init__(self, annotations: COCO, classes: Sequence[str], image_ids: Sequence[Any]) -> None:
        super().__init__()
        missing = [key for key in image_ids if key not in annotations.imgs]
        if missing:
            raise ValueError(
                f'ann_file of the evaluator has no image with id {missing[0]!r} (and {len(missing) - 1} others that '
                'were tested); set it to the annotation file of the dataset'
            )
        by_name = {category['name']: key for key, category in annotations.cats.items()}
        self.file_ids = [by_name.get(name) for name in classes]
        self._images = {key: number for number, key in enumerate(image_ids, 1)}
        self._categories = {key: number for number, key in enumerate(self.file_ids, 1) if key is not None}
        objects = [
            annotation
            for key in image_ids
            for annotation in annotations.imgToAnns.get(key, ())
            if annotation['category_id'] in self._categories
        ]
        self.dataset = dict(
            images=[dict(annotations.imgs[key], id=number) for key, number in self._images.items()],
            categories=[dict(id=number, name=name) for number, name in enumerate(classes, 1)],
            annotations=[dict(self._renumber(entry), id=number) for number, entry in enumerate(objects, 1)],
        )
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def _renumber(self, entry: dict) -> dict:
        """Replace the file's ids in an annotation or a prediction by numbers."""
        return dict(
            entry,
            image_id=self._images[entry['image_id']],
            category_id=self._categories[entry['category_id']],
        )

    def loadRes(self, resFile: List[dict]) -> COCO:  # noqa: N802,N803  pycocotools' names
        """Load predictions, whose ids are those of the file.

        Args:
            resFile (list[dict]): The predictions.

        Returns:
            COCO: The predictions with numbers.
        """
        if not resFile:  # pycocotools raises an IndexError, upon which mmdet returns no metrics
            empty = COCO()
            empty.dataset = dict(self.dataset, annotations=[])
            empty.createIndex()
            return empty
        return super().loadRes([self._renumber(entry) for entry in resFile])


@METRICS.register_module()
class ThunderCocoMetric(CocoMetric):
    """mmdet's COCO metric, right in five cases in which that one fails or silently computes another AP.

    - The file lists the categories in another order than ``metainfo`` the classes, or lacks some: detections are
      matched with them by name. mmdet takes its n-th category for the n-th class. Detections of classes that the file
      lacks do not count.
    - The dataset has a part of the images of the file (``indices``, ``filter_cfg``): those that were tested are
      evaluated. mmdet counts all objects of the others as missed.
    - Ids of annotations may be 0 and any ids may be strings. pycocotools takes 0 for no match and fails at strings.
    - ``classwise`` gives the APs to the right classes if the ids of the categories do not ascend, as pycocotools
      sorts them.
    - Without any detection, as early in a training, the APs are 0. mmdet returns no metrics, so that curves, tables
      and ``save_best`` miss the validation.

    The APs of all classes come before those of single classes, so that ``save_best='auto'`` takes the first of them.
    Results that are written have the ids of the file.

    Takes the arguments of :class:`~mmdet.evaluation.CocoMetric`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._annotations = self._coco_api  # of ann_file; otherwise the ground truth comes with the images

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict:
        """Write detections with the ids of the annotation file.

        Args:
            results (Sequence[dict]): Detections of each image.
            outfile_prefix (str): Prefix of the files.

        Returns:
            dict: The file of each kind of result.
        """
        file_ids, numbers = self._coco_api.file_ids, self.cat_ids
        if None in file_ids:
            is_known = np.array([key is not None for key in file_ids])
            results = [_select(result, np.flatnonzero(is_known[result['labels']])) for result in results]
        self.cat_ids = file_ids
        try:
            return super().results2json(results, outfile_prefix)
        finally:
            self.cat_ids = numbers

    def _to_coco(self, ground_truths: Sequence[dict]) -> COCO:
        """Convert the ground truth that came with the images."""
        with tempfile.TemporaryDirectory() as directory:
            return COCO(self.gt_to_coco_json(ground_truths, self.outfile_prefix or osp.join(directory, 'results')))

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """Compute the metrics.

        Args:
            results (list[tuple[dict, dict]]): Ground truth and detections of each image.

        Returns:
            dict[str, float]: The metrics, those of all classes first.

        Raises:
            ValueError: If ``ann_file`` lacks an image.
        """
        images: dict = {}
        for ground_truth, detections in results:
            images.setdefault(detections['img_id'], (ground_truth, detections))
        if len(images) < len(results):
            print_log(
                f'{len(results) - len(images)} of {len(results)} results are of images that were tested before and '
                'do not count',
                logger='current',
                level=logging.WARNING,
            )
        annotations = self._annotations or self._to_coco([ground_truth for ground_truth, _ in images.values()])
        self._coco_api = NumberedCOCO(annotations, self.dataset_meta['classes'], list(images))
        self.cat_ids, self.img_ids = self._coco_api.get_cat_ids(), self._coco_api.get_img_ids()
        if len(images) < len(annotations.imgs):
            print_log(
                f'Evaluating {len(images)} of the {len(annotations.imgs)} images of ann_file, which are those of the '
                'dataset',
                logger='current',
            )
        try:
            metrics = super().compute_metrics(list(images.values()))
        finally:
            self._coco_api = self._annotations  # without it, the next validation takes the ground truth of its images
        return OrderedDict(sorted(metrics.items(), key=lambda item: item[0].endswith('_precision')))


def _select(result: dict, keep: np.ndarray) -> dict:
    """Keep some detections of an image."""
    selected = {key: result[key][keep] for key in ('bboxes', 'scores', 'labels', 'mask_scores') if key in result}
    if 'masks' in result:
        selected['masks'] = [result['masks'][i] for i in keep]
    return dict(result, **selected)
