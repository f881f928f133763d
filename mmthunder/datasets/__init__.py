"""Checks of datasets, before they are trained on or tested with, and transforms of their images.

Errors name the file, the entry and the field.
"""

from .annotation_error import AnnotationError
from .coco_annotations import load_coco
from .dataset_check import DatasetReport, check_dataset, config_classes
from .transforms import ExpandMinIoURandomCrop, LoadTruncatedImageFromFile
from .voc_annotations import parse_voc
from .wrappers import base_dataset_cfgs, base_datasets, dataset_classes

__all__ = [
    'AnnotationError',
    'DatasetReport',
    'ExpandMinIoURandomCrop',
    'LoadTruncatedImageFromFile',
    'base_dataset_cfgs',
    'base_datasets',
    'check_dataset',
    'config_classes',
    'dataset_classes',
    'load_coco',
    'parse_voc',
]
