"""Data loading whose errors name the file and the field."""

from . import coco_annotations, evaluated_coco, transforms, voc_annotations  # noqa: F401
from .annotation_error import AnnotationError

__all__ = ['AnnotationError']
