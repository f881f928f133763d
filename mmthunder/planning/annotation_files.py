"""Writes the annotation files that a plan needs beside its config."""

import codecs
import json
from collections import Counter
from pathlib import Path
from typing import Any, Collection, Dict, List, Tuple

import numpy as np
from tqdm import tqdm

from mmthunder.datasets.coco_annotations import is_box, read_coco

from .frames import describe_other_sizes, describe_size, read_frame
from .layouts import Part, read_ids


def write_coco(content: Dict[str, Any], path: Path) -> None:
    """Write a COCO annotation file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding='utf-8')


def write_part(part: Part, data_format: str, image_ids: Collection[Any], path: Path) -> Part:
    """Write the annotations of some of a split's images.

    Args:
        part (Part): The split.
        data_format (str): ``'coco'`` or ``'voc'``.
        image_ids (Collection): The images' ids.
        path (Path): The file without its suffix: a COCO annotation file, or a list of VOC's image ids.

    Returns:
        Part: The new split.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    wanted = set(image_ids)
    if data_format == 'voc':
        path = path.with_suffix('.txt')
        names = [name for name in read_ids(part.annotations) if name in wanted]
        path.write_text('\n'.join(names) + '\n', encoding='utf-8')
    else:
        path = path.with_suffix('.json')
        content = json.loads(part.annotations.read_text(encoding='utf-8'))
        content['images'] = [entry for entry in content['images'] if entry['id'] in wanted]
        content['annotations'] = [entry for entry in content['annotations'] if entry['image_id'] in wanted]
        write_coco(content, path)
    return Part(path, part.images)


def _entries(content: Dict[str, Any], section: str) -> List[Dict[str, Any]]:
    entries = content.get(section)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def complete_coco(content: Dict[str, Any]) -> List[str]:
    """Complete what exports of annotation tools often lack, in place; anything else that is wrong stays so.

    Args:
        content (dict): Content of a COCO annotation file, not checked.

    Returns:
        list[str]: What was done, in words.
    """
    done = []
    images, entries, named = (_entries(content, section) for section in ('images', 'annotations', 'categories'))
    windows = [entry for entry in images if '\\' in str(entry.get('file_name'))]
    for entry in windows:
        entry['file_name'] = str(entry['file_name']).replace('\\', '/')
    if windows:
        done.append(f'{len(windows)} file names get / for \\')
    without = [entry for entry in entries if entry.get('iscrowd') is None]
    for entry in without:
        entry['iscrowd'] = 0
    if without:
        done.append(f'{len(without)} annotations get iscrowd 0')
    # mmdet leaves out boxes whose area is 0.
    boxes = [entry for entry in entries if not entry.get('area') and is_box(entry.get('bbox'))]
    without = [entry for entry in boxes if entry.get('area') != entry['bbox'][2] * entry['bbox'][3]]
    for entry in without:
        entry['area'] = entry['bbox'][2] * entry['bbox'][3]
    if without:
        done.append(f'{len(without)} annotations get the area of their box')
    # The root of a class hierarchy, without boxes, may have the name of a class.
    counts, used = Counter(str(entry.get('name')) for entry in named), {str(e.get('category_id')) for e in entries}
    unused = [entry for entry in named if counts[str(entry.get('name'))] > 1 and str(entry.get('id')) not in used]
    if unused:
        content['categories'] = [entry for entry in content['categories'] if entry not in unused]
        done.append(f'the category {unused[0].get("name")!r} without boxes, of which there is another, is left out')
    return done


def fit_to_images(content: Dict[str, Any], directory: Path) -> List[str]:
    """Correct the size of images in place where another one is annotated, if their boxes fit.

    Boxes of photographs that were annotated without the turn by 90 degrees that EXIF asks for are turned.

    Args:
        content (dict): Content of a COCO annotation file, not checked.
        directory (Path): Directory of the images.

    Returns:
        list[str]: What was done, in words.
    """
    boxes: Dict[Any, List[Dict[str, Any]]] = {}
    for entry in _entries(content, 'annotations'):
        if is_box(entry.get('bbox')):
            boxes.setdefault(str(entry.get('image_id')), []).append(entry)
    num_turned, resized = 0, []
    # Shown where it takes long.
    for image in tqdm(_entries(content, 'images'), 'Reading sizes', unit='image', delay=2):
        try:
            frame, annotated = read_frame(directory / image['file_name']), (image['width'], image['height'])
        except (OSError, KeyError, TypeError):  # which is found later
            continue
        if annotated == frame.size:
            continue
        entries = boxes.get(str(image.get('id')), [])
        corners = np.array([entry['bbox'] for entry in entries], float).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        if frame.is_turned(annotated):
            num_turned += 1
            for entry, (x1, y1, x2, y2) in zip(entries, frame.turn(corners).tolist()):
                entry['bbox'] = [x1, y1, x2 - x1, y2 - y1]
        elif frame.contains(corners):
            resized.append(f'{image["file_name"]} {describe_size(frame.size, annotated)}')
        else:
            continue
        image['width'], image['height'] = frame.size
    turned = [f'boxes of {num_turned} images are turned as EXIF turns the images'] if num_turned else []
    return [*turned, *describe_other_sizes(resized)]


def complete_part(part: Part, path: Path) -> Tuple[Part, List[str]]:
    """Complete a split's COCO annotations in a copy, if that is needed.

    Args:
        part (Part): The split.
        path (Path): The copy.

    Returns:
        tuple[Part, list[str]]: The split, with the copy if there is one, and what was done.
    """
    content = read_coco(str(part.annotations), encoding='utf-8-sig')
    done = [*complete_coco(content), *fit_to_images(content, part.images)] if isinstance(content, dict) else []
    with open(part.annotations, 'rb') as file:
        if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
            done.append('the byte order mark is left out')
    if not done:
        return part, []
    write_coco(content, path)
    return Part(path, part.images), [f'{part.annotations}: {what}, in the copy {path}' for what in done]
