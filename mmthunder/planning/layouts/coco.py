"""COCO annotations: COCO's own arrangement, one file beside one image directory, exports with a file per split."""

import json
from pathlib import Path
from typing import Dict, List, Optional

from ..planning_error import PlanningError
from .layout import Layout, Part, Parts, short_list, split_of

# Of large files only the two ends are read to tell whether they are COCO's.
PEEK = 2**20  # bytes


def _is_coco(path: Path) -> bool:
    """Return whether a JSON file has images and categories, as object detection annotations of COCO."""
    with open(path, 'rb') as file:
        text = file.read(PEEK)
        file.seek(max(path.stat().st_size - PEEK, 0))
        text += file.read()
    return b'"images"' in text and b'"categories"' in text


def _annotation_files(root: Path) -> Dict[Optional[str], List[Path]]:
    """Find COCO annotation files down to two directories below the root, by split; None is of no split."""
    found: Dict[Optional[str], List[Path]] = {}
    files = [path for pattern in ('*.json', '*/*.json', '*/*/*.json') for path in sorted(root.glob(pattern))]
    # COCO's archives have keypoints, captions and instances of the same images.
    instances = [path for path in files if path.stem.startswith('instances')]
    for path in instances or files:
        if _is_coco(path):
            split = split_of(path.stem) or (split_of(path.parent.name) if path.parent != root else None)
            found.setdefault(split, []).append(path)
    return found


def _image_directory(annotations: Path, root: Path, option: str) -> Path:
    """Find the directory in which an annotation file's images are.

    Args:
        annotations (Path): The file.
        root (Path): The data set's directory.
        option (str): Option that names the directory, for the message.

    Returns:
        Path: The directory to which the file names are relative.

    Raises:
        PlanningError: If the file is not readable JSON with images, or none of several images is found.
    """
    try:
        with open(annotations, encoding='utf-8') as file:
            names = [str(entry['file_name']) for entry in json.load(file)['images']]
    except (ValueError, KeyError, TypeError):
        raise PlanningError(
            f'{annotations}: not a COCO annotation file; expected JSON with images, annotations and '
            'categories, each image with a file_name'
        ) from None
    if not names:
        raise PlanningError(f'{annotations}: images is empty; expected the images that are annotated')
    sample = names[:: max(len(names) // 20, 1)]
    split = split_of(annotations.stem) or split_of(annotations.parent.name)
    # 'train2017' of 'instances_train2017', then directories named after the split, then all.
    stem = annotations.stem.split('_')[-1]
    nearby = [root / stem, root / 'images' / stem]
    below = sorted(path for pattern in ('*/', '*/*/') for path in root.glob(pattern) if path.is_dir())
    nearby += [path for path in below if split and split_of(path.name) == split]
    candidates = [annotations.parent, *nearby, root, root / 'images', annotations.parent.parent, *below]
    candidates += [path for parent in (annotations.parent,) for path in sorted(parent.glob('*/')) if path.is_dir()]
    counts = [sum((directory / name).is_file() for name in sample) for directory in candidates]
    if not max(counts):
        raise PlanningError(
            f'{annotations}: its images are not found in {root} or the directories below it, for example '
            f'{sample[0]!r}; name their directory with {option}'
        )
    return candidates[counts.index(max(counts))]


def _part(annotations: Path, images: Optional[Path], root: Path, split: str) -> Part:
    option = f'--{split}-images'
    return Part(annotations, images or _image_directory(annotations, root, option))


def find_coco(root: Path, parts: Parts) -> Optional[Layout]:
    """Look for COCO annotations.

    Args:
        root (Path): The data set's directory.
        parts (Parts): Parts that the user named.

    Returns:
        Layout | None: The layout, or None if there is no annotation file of COCO.

    Raises:
        PlanningError: If it is ambiguous which file the training split is, or images are not found.
    """
    if parts.train_annotations:
        val = parts.val_annotations
        return Layout(
            'coco',
            root,
            _part(parts.train_annotations, parts.train_images, root, 'train'),
            _part(val, parts.val_images, root, 'val') if val else None,
        )
    found = _annotation_files(root)
    if not found:
        return None
    train = found.get('train') or found.get(None)
    if not train or len(train) > 1 or len(found.get('val', [])) > 1:
        files = [path for paths in found.values() for path in paths]
        raise PlanningError(
            f'{root}: cannot tell which of {short_list(files, root)} are the training and validation annotations; '
            'name them with --train-annotations and --val-annotations'
        )
    (train_file,) = train
    (val_file,) = [parts.val_annotations] if parts.val_annotations else found.get('val', [None])
    unused = [path for paths in found.values() for path in paths if path not in (train_file, val_file)]
    return Layout(
        'coco',
        root,
        _part(train_file, parts.train_images, root, 'train'),
        _part(val_file, parts.val_images, root, 'val') if val_file else None,
        unused=tuple(str(path.relative_to(root)) for path in unused),
    )
