"""Imports YOLO and Pascal VOC annotations as COCO annotations.

`supervision <https://supervision.roboflow.com>`_ parses the files: labels in YOLO's box and polygon forms, numbers in
either notation, VOC's one-based pixels. Its per-file functions are used, since its data sets keep a dense mask of every
polygon in memory and refuse a data set for one damaged image.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from .layouts import Layout, Part
from .planning_error import PlanningError
from .require import require

ORIENTATION = 0x0112  # EXIF tag; values of 5 to 8 turn the image by 90 degrees


def _supervision(data_format: str) -> ModuleType:
    return require(f'supervision.dataset.formats.{data_format}', f'annotations of the format {data_format}')


def _size(image: Path) -> Optional[Tuple[int, int]]:
    """Return width and height in pixels as the image is loaded, or None if the file is not an image."""
    try:
        with Image.open(image) as file:
            turned = file.getexif().get(ORIENTATION) in (5, 6, 7, 8)
            return file.size[::-1] if turned else file.size
    except (OSError, UnidentifiedImageError, SyntaxError):
        return None


def _read_yolo(path: Path, size: Tuple[int, int], classes: List[str]) -> Tuple[np.ndarray, np.ndarray]:
    lines = [line for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
    detections = _supervision('yolo').yolo_annotations_to_detections(lines, size, with_masks=False)
    labels = np.asarray(detections.class_id if len(lines) else [], int)
    wrong = labels[(labels < 0) | (labels >= len(classes))]
    if len(wrong):
        raise ValueError(f'class {wrong[0]} is not in the list of {len(classes)} classes')
    return detections.xyxy, labels


def _read_xml(path: Path, size: Tuple[int, int], classes: List[str]) -> Tuple[np.ndarray, np.ndarray]:
    root = ElementTree.parse(path).getroot()
    for element in root.findall('object'):
        for polygon in element.findall('polygon'):  # boxes are all that is needed
            element.remove(polygon)
    detections, names = _supervision('pascal_voc').detections_from_xml_obj(root, classes, size)
    classes[:] = names
    return detections.xyxy, np.asarray(detections.class_id, int)


def import_coco(layout: Layout) -> Tuple[Dict[str, Dict[str, Any]], List[str]]:
    """Import the annotations of a layout that mmdet does not read.

    Boxes are clipped to their image. Images that are no image files are left out.

    Args:
        layout (Layout): A layout of the format ``'yolo'`` or ``'xml'``.

    Returns:
        tuple[dict[str, dict], list[str]]: The content of a COCO annotation file by split, with file names relative to
        ``layout.root``, and a line for each image that is left out.

    Raises:
        PlanningError: If supervision is not installed, or an annotation file is wrong.
    """
    read = dict(yolo=_read_yolo, xml=_read_xml)[layout.format]
    classes = list(layout.classes)
    damaged: List[str] = []
    parts = {name: part for name, part in (('train', layout.train), ('val', layout.val)) if part}
    contents = {name: _import_part(part, layout, read, classes, damaged) for name, part in parts.items()}
    for content in contents.values():
        content['categories'] = [dict(id=number, name=name) for number, name in enumerate(classes, 1)]
    return contents, damaged


def _import_part(part: Part, layout: Layout, read: Any, classes: List[str], damaged: List[str]) -> Dict[str, Any]:
    """Import one split; extends ``classes`` by the names in XML files and ``damaged``."""
    images: List[dict] = []
    annotations: List[dict] = []
    for image, label in tqdm(part.pairs, f'Importing {layout.format}', unit='image'):
        size = _size(image)
        if size is None:
            damaged.append(f'{image}: not a readable image')
            continue
        try:
            boxes, labels = read(label, size, classes) if label else (np.empty((0, 4)), np.empty(0, int))
        except (ValueError, ElementTree.ParseError) as error:
            raise PlanningError(f'{label}: {error}; correct the file, or remove it with its image') from None
        width, height = size
        images.append(
            dict(id=len(images) + 1, file_name=_name(image, layout.root), width=int(width), height=int(height))
        )
        boxes = np.asarray(boxes, float).clip(0, [width, height, width, height])
        for (x1, y1, x2, y2), category in zip(boxes.round(2).tolist(), labels.tolist()):
            box = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=images[-1]['id'],
                    category_id=category + 1,
                    bbox=box,
                    area=round(box[2] * box[3], 2),
                    iscrowd=0,
                )
            )
    return dict(images=images, annotations=annotations)


def _name(image: Path, root: Path) -> str:
    return image.relative_to(root).as_posix() if root in image.parents else image.resolve().as_posix()
