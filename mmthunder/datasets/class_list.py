"""Compares a class list with the names that annotations have."""

import logging
from typing import Mapping, Sequence

from mmengine.logging import print_log

from .annotation_error import AnnotationError


def check_class_list(path: str, classes: Sequence[str], counts: Mapping[str, int], section: str) -> None:
    """Compare a class list with the names in annotations, and tell which objects will not be used.

    Args:
        path (str): Name of the annotation file or of the list of them, for messages.
        classes (Sequence[str]): The class list, as in metainfo.
        counts (Mapping[str, int]): Number of objects of each name.
        section (str): ``'categories'``, of which each class must be one even if it has no object, or ``'objects'``.
            A class may then have none, as long as there are no other names either: one of them may be meant.

    Raises:
        AnnotationError: If a class is missing.
    """
    missing = [name for name in classes if name not in counts]
    others = {name: count for name, count in counts.items() if name not in classes}
    if missing and (others or section == 'categories'):
        raise AnnotationError(
            f'{path}: the classes {missing} of metainfo are not among the {section}, which have '
            f'{list(others)} that metainfo does not; set dataset.metainfo=dict(classes=(...)) in the '
            "config and the head's num_classes to match"
        )
    unused = ', '.join(f'{count} {name!r}' for name, count in others.items() if count)
    if unused:
        print_log(
            f'{path}: objects that are not used, since metainfo does not list their classes: {unused}',
            logger='current',
            level=logging.WARNING,
        )
