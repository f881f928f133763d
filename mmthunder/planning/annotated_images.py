"""The images and boxes of a data set as mmdet reads them."""

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules

from mmthunder.datasets import check_dataset, load_coco, parse_voc

from .layouts import Layout, Part, read_ids


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
        AnnotationError: If a file is damaged or wrong.
        FileNotFoundError: If an XML file is missing.
    """
    if layout.format == 'coco':
        return tuple(entry['name'] for entry in load_coco(str(layout.train.annotations))['categories'])
    names = set()
    for part in filter(None, (layout.train, layout.val)):
        for image_id in read_ids(part.annotations):
            path = layout.root / 'Annotations' / f'{image_id}.xml'
            names.update(element.text for element in parse_voc(str(path), path.read_bytes()).iterfind('object/name'))
    return tuple(sorted(names))


def read_annotated_images(cfg: Dict[str, Any], training: bool) -> Tuple[List[AnnotatedImage], List[str]]:
    """Check a dataset's annotations and read them with mmdet.

    mmdet leaves out boxes that are outside of their image or have a side below 1 px.

    Args:
        cfg (dict): What :func:`dataset_cfg` returns.
        training (bool): Whether it is the training split.

    Returns:
        tuple[list[AnnotatedImage], list[str]]: The images in the dataset's order, those without boxes included, and
        what is unusual, a line each.

    Raises:
        AnnotationError: If an annotation file is damaged or wrong.
    """
    register_all_modules(init_default_scope=True)
    report = check_dataset(cfg, training)
    report.raise_errors()
    dataset = DATASETS.build(dict(cfg, pipeline=[], test_mode=True, serialize_data=False))
    # A file's categories may be in another order than the class list.
    order = np.array([report.classes.index(name) for name in report.labels], int)
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
                labels=order[np.array([instance['bbox_label'] for instance in instances], int)],
                ignored=np.array([instance['ignore_flag'] for instance in instances], bool),
            )
        )
    return images, report.warnings


def keep_classes(images: Sequence[AnnotatedImage], labels: Sequence[int]) -> List[AnnotatedImage]:
    """Keep the boxes of some classes, which are numbered anew.

    Args:
        images (Sequence[AnnotatedImage]): The images.
        labels (Sequence[int]): Labels to keep, in their new order.

    Returns:
        list[AnnotatedImage]: All images, with the boxes that are left.
    """
    kept = []
    for image in images:
        chosen = np.isin(image.labels, labels)
        numbers = np.array([list(labels).index(label) for label in image.labels[chosen]], int)
        boxes, ignored = image.boxes[chosen], image.ignored[chosen]
        kept.append(replace(image, boxes=boxes, labels=numbers, ignored=ignored))
    return kept
