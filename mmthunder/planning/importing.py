"""Imports YOLO and Pascal VOC annotations as COCO annotations.

`supervision <https://supervision.roboflow.com>`_ parses the files: labels in YOLO's box and polygon forms, numbers in
either notation, VOC's one-based pixels. Its per-file functions are used, since its data sets keep a dense mask of every
polygon in memory and refuse a data set for one damaged image.
"""

import functools
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np
from tqdm import tqdm

from .frames import Frame, describe_other_sizes, describe_size, read_frame
from .layouts import Layout, Part, read_lines
from .planning_error import PlanningError
from .require import require

MAX_DAMAGED = 0.5  # share of the images; more are a wrong directory rather than damage
MAX_SHARE = 2  # of width and height, in YOLO's labels, where some are a little above 1; pixels are far above


class _Boxes(NamedTuple):
    """What an annotation file says: (x1, y1, x2, y2) in pixels of the loaded image, (N, 4), and of each, (N,)."""

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    other_size: str = ''  # than the image has, in words


NO_BOXES = _Boxes(np.empty((0, 4)), np.empty(0, int), np.empty(0, bool))


class _LeftOut(Exception):
    """Why an image is left out."""


def _supervision(data_format: str) -> ModuleType:
    return require(f'supervision.dataset.formats.{data_format}', f'annotations of the format {data_format}')


def _read_yolo(path: Path, frame: Frame, classes: List[str], keypoints: int) -> _Boxes:
    lines = [line.split() for line in read_lines(path)]
    lines = [' '.join(line[:5] if keypoints and len(line) == 5 + keypoints else line) for line in lines]
    detections = _supervision('yolo').yolo_annotations_to_detections(lines, frame.size, with_masks=False)
    labels = np.asarray(detections.class_id if len(lines) else [], int)
    wrong = labels[(labels < 0) | (labels >= len(classes))]
    if len(wrong):
        raise ValueError(f'class {wrong[0]} is not in the list of {len(classes)} classes')
    low, high = np.split(detections.xyxy, 2, axis=1)
    outside = (np.maximum((low + high) / 2, high - low) > MAX_SHARE * np.array(frame.size)).any(1)
    if outside.any():
        line = lines[outside.argmax()]
        raise ValueError(f'line {line!r:.80} has values above 1; expected shares of width and height, from 0 to 1')
    return _Boxes(detections.xyxy, labels, np.zeros(len(labels), bool))


def _read_xml(path: Path, frame: Frame, classes: List[str]) -> _Boxes:
    root = ElementTree.parse(path).getroot()
    objects = root.findall('object')
    for element in objects:
        for polygon in element.findall('polygon'):  # boxes are all that is needed
            element.remove(polygon)
    annotated = tuple(float(root.findtext(f'size/{side}') or 0) for side in ('width', 'height'))
    is_turned = frame.is_turned(annotated)
    detections, classes[:] = _supervision('pascal_voc').detections_from_xml_obj(root, classes, frame.size)
    boxes = frame.turn(detections.xyxy) if is_turned else detections.xyxy
    other_size = ''
    if 0 not in annotated and annotated != frame.size and not is_turned:  # 0 is unknown
        other_size = describe_size(frame.size, annotated, f'{path} says')
        if not frame.contains(boxes):
            raise _LeftOut(f'{other_size}, and boxes are outside; put back the image that was annotated')
    difficult = [element.findtext('difficult', '').strip() == '1' for element in objects]
    return _Boxes(boxes, np.asarray(detections.class_id, int), np.array(difficult, bool), other_size)


def import_coco(layout: Layout) -> Tuple[Dict[str, Dict[str, Any]], List[str]]:
    """Import the annotations of a layout that mmdet does not read.

    Boxes are clipped to their image; difficult ones are crowds, which mmdet ignores as it does difficult ones. Images
    that are no image files, or too small for their annotations, are left out.

    Args:
        layout (Layout): A layout of the format ``'yolo'`` or ``'xml'``.

    Returns:
        tuple[dict[str, dict], list[str]]: The content of a COCO annotation file by split, with file names relative to
        ``layout.root``, and notes, a line each: images that are left out, and how many have another size.

    Raises:
        PlanningError: If supervision is not installed, an annotation file is wrong, or most images are left out.
    """
    read = dict(yolo=functools.partial(_read_yolo, keypoints=layout.keypoints), xml=_read_xml)[layout.format]
    classes = list(layout.classes)
    left_out: List[str] = []
    resized: List[str] = []
    parts = {name: part for name, part in (('train', layout.train), ('val', layout.val)) if part}
    contents = {name: _import_part(part, layout, read, classes, left_out, resized) for name, part in parts.items()}
    count = sum(len(part.pairs) for part in parts.values())
    if len(left_out) > MAX_DAMAGED * count:
        raise PlanningError(f'{layout.root}: {len(left_out)} of {count} images cannot be used; {left_out[0]}')
    for content in contents.values():
        content['categories'] = [dict(id=number, name=name) for number, name in enumerate(classes, 1)]
    notes = [f'left out: {line}' for line in left_out]
    return contents, [*notes, *describe_other_sizes(resized)]


def _import_part(
    part: Part, layout: Layout, read: Any, classes: List[str], left_out: List[str], resized: List[str]
) -> Dict[str, Any]:
    """Import one split; extends ``classes`` by the names in XML files, ``left_out`` and ``resized``."""
    images: List[dict] = []
    annotations: List[dict] = []
    for image, label in tqdm(part.pairs, f'Importing {layout.format}', unit='image'):
        try:
            frame = read_frame(image)
        except OSError:
            left_out.append(f'{image}: not a readable image')
            continue
        try:
            boxes, labels, difficult, other_size = read(label, frame, classes) if label else NO_BOXES
        except _LeftOut as error:
            left_out.append(f'{image}: {error}')
            continue
        except PlanningError:
            raise
        except (ValueError, ElementTree.ParseError) as error:
            raise PlanningError(f'{label}: {error}; correct the file, or remove it with its image') from None
        if other_size:
            resized.append(f'{image} {other_size}')
        width, height = frame.size
        images.append(
            dict(id=len(images) + 1, file_name=_name(image, layout.root), width=int(width), height=int(height))
        )
        boxes = np.asarray(boxes, float).clip(0, [width, height, width, height])
        for (x1, y1, x2, y2), category, crowd in zip(boxes.round(2).tolist(), labels.tolist(), difficult.tolist()):
            box = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=images[-1]['id'],
                    category_id=category + 1,
                    bbox=box,
                    area=round(box[2] * box[3], 2),
                    iscrowd=int(crowd),
                )
            )
    return dict(images=images, annotations=annotations)


def _name(image: Path, root: Path) -> str:
    return image.relative_to(root).as_posix() if root in image.parents else image.resolve().as_posix()
