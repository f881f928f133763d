"""Writes the annotation files that a plan needs beside its config."""

import json
from pathlib import Path
from typing import Any, Collection, Dict

from mmthunder.planning.layouts import Part


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
