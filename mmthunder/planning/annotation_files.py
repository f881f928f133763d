"""Writes the annotation files that a plan needs beside its config."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Collection, Dict, List, Tuple

from mmthunder.datasets.coco_annotations import read_coco

from .layouts import Part


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
        names = [name for name in part.annotations.read_text(encoding='utf-8').split() if name in wanted]
        path.write_text('\n'.join(names) + '\n', encoding='utf-8')
    else:
        path = path.with_suffix('.json')
        content = json.loads(part.annotations.read_text(encoding='utf-8'))
        content['images'] = [entry for entry in content['images'] if entry['id'] in wanted]
        content['annotations'] = [entry for entry in content['annotations'] if entry['image_id'] in wanted]
        write_coco(content, path)
    return Part(path, part.images)


def complete_coco(content: Dict[str, Any]) -> List[str]:
    """Complete what exports of annotation tools often lack, in place; anything else that is wrong stays so.

    Args:
        content (dict): Content of a COCO annotation file, not checked.

    Returns:
        list[str]: What was done, in words.
    """
    done = []
    annotations, categories = content.get('annotations'), content.get('categories')
    if not isinstance(annotations, list) or not isinstance(categories, list):
        return done
    entries = [entry for entry in annotations if isinstance(entry, dict)]
    without = [entry for entry in entries if 'iscrowd' not in entry]
    for entry in without:
        entry['iscrowd'] = 0
    if without:
        done.append(f'{len(without)} annotations get iscrowd 0')
    without = [entry for entry in entries if 'area' not in entry and len(entry.get('bbox') or ()) == 4]
    for entry in without:
        entry['area'] = entry['bbox'][2] * entry['bbox'][3]
    if without:
        done.append(f'{len(without)} annotations get the area of their box')
    # The root of a class hierarchy, without boxes, may have the name of a class.
    named = [entry for entry in categories if isinstance(entry, dict)]
    counts, used = Counter(str(entry.get('name')) for entry in named), {str(e.get('category_id')) for e in entries}
    unused = [entry for entry in named if counts[str(entry.get('name'))] > 1 and str(entry.get('id')) not in used]
    if unused:
        content['categories'] = [entry for entry in categories if entry not in unused]
        done.append(f'the category {unused[0].get("name")!r} without boxes, of which there is another, is left out')
    return done


def complete_part(part: Part, path: Path) -> Tuple[Part, List[str]]:
    """Complete a split's COCO annotations in a copy, if that is needed.

    Args:
        part (Part): The split.
        path (Path): The copy.

    Returns:
        tuple[Part, list[str]]: The split, with the copy if there is one, and what was done.
    """
    content = read_coco(str(part.annotations))
    done = complete_coco(content) if isinstance(content, dict) else []
    if not done:
        return part, []
    write_coco(content, path)
    return Part(path, part.images), [f'{part.annotations}: {what}, in the copy {path}' for what in done]
