"""COCO annotations as pycocotools can evaluate them."""

from typing import Optional

from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation.metrics import coco_metric

from .annotation_error import AnnotationError


class EvaluatedCOCO(COCO):
    """mmdet's reader of COCO files for ``CocoMetric``, which numbers the annotations anew.

    pycocotools writes down the id of the annotation that a detection matches, so that an id of 0 counts as no match
    and a text is an error. Nothing else refers to these ids, so files may have any.

    Args:
        annotation_file (str, optional): Path of the file. Defaults to None: no annotations.

    Raises:
        AnnotationError: If some ids of images or of categories are numbers and others texts, which pycocotools cannot
            sort.
    """

    def __init__(self, annotation_file: Optional[str] = None) -> None:
        super().__init__(annotation_file)
        for section, entries in dict(images=self.imgs, categories=self.cats).items():
            texts = [key for key in entries if isinstance(key, str)]
            if 0 < len(texts) < len(entries):
                raise AnnotationError(
                    f'{annotation_file}: {section}: {len(texts)} of {len(entries)} ids are texts, as '
                    f'{texts[0]!r}; expected all numbers or all texts, to evaluate with them'
                )

    def createIndex(self) -> None:  # noqa: N802  pycocotools' name
        """Number the annotations from 1 and index them."""
        for number, annotation in enumerate(self.dataset.get('annotations', []), 1):
            annotation['id'] = number
        super().createIndex()


# The name is changed where CocoMetric looks for it, so that configs need no other metric.
coco_metric.COCO = EvaluatedCOCO
