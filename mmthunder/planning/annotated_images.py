"""The images and boxes of a data set as mmdet reads them."""

import json
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

import numpy as np
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules

from .layouts import Layout, Part
from .planning_error import PlanningError


@dataclass(frozen=True)
class AnnotatedImage:
    """An image and its boxes.

    Attributes:
        path (str): The image file.
        image_id (int | str): The data set's id of it.
        width (int): In pixels, as annotated.
        height (int): In pixels, as annotated.
        boxes (np.ndarray): (x1, y1, x2, y2) in pixels, (N, 4).
        labels (np.ndarray): Indices into the class list, (N,).
        ignored (np.ndarray): Whether a box is a crowd or difficult, which mmdet neither learns nor counts, (N,).
    """

    path: str
    image_id: Any
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray


def dataset_cfg(layout: Layout, part: Part, classes: Tuple[str, ...]) -> Dict[str, Any]:
    """Return the config of mmdet's data set for one split.

    Args:
        layout (Layout): A layout of the format ``'coco'`` or ``'voc'``.
        part (Part): The split.
        classes (tuple[str]): The class list.

    Returns:
        dict: Type, files and classes.
    """
    if layout.format == 'voc':
        cfg = dict(type='XMLDataset', data_root=str(layout.root), data_prefix=dict(sub_data_root=''))
    else:
        cfg = dict(type='CocoDataset', data_prefix=dict(img=str(part.images)))
    return dict(cfg, ann_file=str(part.annotations.resolve()), metainfo=dict(classes=classes))


def read_classes(layout: Layout) -> Tuple[str, ...]:
    """Read the class list: the categories of a COCO file in its order, or the sorted names in VOC's XML files.

    Args:
        layout (Layout): A layout of the format ``'coco'`` or ``'voc'``.

    Returns:
        tuple[str]: The names.

    Raises:
        PlanningError: If a file cannot be read.
    """
    path = layout.train.annotations
    try:
        if layout.format == 'coco':
            return tuple(str(entry['name']) for entry in json.loads(path.read_text(encoding='utf-8'))['categories'])
        names: Counter = Counter()
        for part in filter(None, (layout.train, layout.val)):
            for name in part.annotations.read_text(encoding='utf-8').split():
                path = layout.root / 'Annotations' / f'{name}.xml'
                names.update(element.text for element in ElementTree.parse(path).getroot().iterfind('object/name'))
    except (OSError, ValueError, KeyError, TypeError, ElementTree.ParseError) as error:
        raise PlanningError(f'{path}: not readable as annotations ({" ".join(str(error).split())})') from None
    return tuple(sorted(filter(None, names)))


def read_annotated_images(cfg: Dict[str, Any]) -> List[AnnotatedImage]:
    """Read a data set's annotations with mmdet, which leaves out boxes outside of their image and below 1 px.

    Args:
        cfg (dict): What :func:`dataset_cfg` returns.

    Returns:
        list[AnnotatedImage]: The images in the data set's order, those without boxes included.
    """
    register_all_modules(init_default_scope=True)
    dataset = DATASETS.build(dict(cfg, pipeline=[], test_mode=True, serialize_data=False))
    images = []
    for info in dataset.data_list:
        instances = info['instances']
        images.append(
            AnnotatedImage(
                path=info['img_path'],
                image_id=info['img_id'],
                width=int(info['width']),
                height=int(info['height']),
                boxes=np.array([instance['bbox'] for instance in instances], np.float32).reshape(-1, 4),
                labels=np.array([instance['bbox_label'] for instance in instances], int),
                ignored=np.array([instance['ignore_flag'] for instance in instances], bool),
            )
        )
    return images
