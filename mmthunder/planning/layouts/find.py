"""Tells which layout a directory has."""

from pathlib import Path
from typing import Optional

from ..planning_error import PlanningError
from .coco import find_coco
from .layout import Layout, Parts
from .voc import find_voc
from .yolo import find_yolo

FORMATS = dict(coco=find_coco, voc=find_voc, yolo=find_yolo)
EXPECTED = (
    'expected COCO JSON (annotations/instances_train.json, train/_annotations.coco.json, one JSON beside the images), '
    'Pascal VOC (Annotations/*.xml) or YOLO (data.yaml or classes.txt, one txt per image)'
)


def find_layout(data: Path, data_format: Optional[str] = None, parts: Parts = Parts()) -> Layout:
    """Find the images, annotations and splits of a data set.

    Args:
        data (Path): The data set's directory.
        data_format (str, optional): ``'coco'``, ``'voc'`` or ``'yolo'``; None finds out. Defaults to None.
        parts (Parts): Parts that the user named. Defaults to none.

    Returns:
        Layout: Where everything is.

    Raises:
        PlanningError: If the path is not there, the layout is unknown or it is ambiguous.
    """
    for path in (data, *vars(parts).values()):
        if path is not None and not path.exists():
            raise PlanningError(f'{path}: no such file or directory')
    if not data.is_dir():
        raise PlanningError(f'{data}: not a directory; expected the directory of the data set')
    if data_format is None and parts.train_annotations and parts.train_annotations.suffix == '.json':
        data_format = 'coco'
    if data_format:
        layout = FORMATS[data_format](data, parts)
        if layout is None:
            raise PlanningError(f'{data}: no annotations of the format {data_format} are found; {EXPECTED}')
        return layout
    found, errors = {}, []
    for name, find in FORMATS.items():
        # A classes.txt beside COCO's annotations does not make a data set of YOLO.
        try:
            layout = find(data, parts)
        except PlanningError as error:
            errors.append(error)
            continue
        if layout:
            found[name] = layout
    if len(found) > 1:
        raise PlanningError(f'{data}: has annotations of several formats; choose one of --format {", ".join(found)}')
    if not found:
        raise next(iter(errors), PlanningError(f'{data}: the layout is unknown; {EXPECTED}'))
    return next(iter(found.values()))
