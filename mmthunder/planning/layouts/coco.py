"""COCO annotations: COCO's own arrangement, one file beside one image directory, exports with a file per split."""

import json
import mmap
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from ..planning_error import PlanningError
from .layout import Layout, Part, Parts, is_hidden, short_list, split_of


def _is_coco(path: Path) -> bool:
    """Return whether a JSON file has images and categories, as object detection annotations of COCO."""
    if not path.stat().st_size:  # which cannot be mapped
        return False
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return all(text.find(key) >= 0 for key in (b'"images"', b'"categories"'))


def _annotation_files(root: Path) -> Dict[Optional[str], List[Path]]:
    """Find COCO annotation files down to two directories below the root, by split; None is of no split."""
    found: Dict[Optional[str], List[Path]] = {}
    files = [path for pattern in ('*.json', '*/*.json', '*/*/*.json') for path in sorted(root.glob(pattern))]
    files = [path for path in files if not is_hidden(path, root)]
    # COCO's archives have keypoints, captions and instances of the same images.
    instances = [path for path in files if path.stem.startswith('instances')]
    for path in instances or files:
        if _is_coco(path):
            split = split_of(path.stem) or (split_of(path.parent.name) if path.parent != root else None)
            found.setdefault(split, []).append(path)
    return found


def _file_names(annotations: Path) -> List[str]:
    """Read the names of an annotation file's images, with / where Windows has a backslash."""
    try:
        with open(annotations, encoding='utf-8-sig') as file:
            return [str(entry['file_name']).replace('\\', '/') for entry in json.load(file)['images']]
    except (ValueError, KeyError, TypeError):
        raise PlanningError(
            f'{annotations}: not a COCO annotation file; expected JSON with images, annotations and '
            'categories, each image with a file_name'
        ) from None


def _image_directory(annotations: Path, names: List[str], root: Path, option: str) -> Path:
    """Find the directory in which an annotation file's images are.

    Args:
        annotations (Path): The file.
        names (list[str]): What it names them.
        root (Path): The data set's directory.
        option (str): Option that names the directory, for the message.

    Returns:
        Path: The directory to which the file names are relative.

    Raises:
        PlanningError: If none of several images is found.
    """
    sample = names[:: max(len(names) // 20, 1)]
    split = split_of(annotations.stem) or split_of(annotations.parent.name)
    # 'train2017' of 'instances_train2017', then directories named after the split, then all.
    stem = annotations.stem.split('_')[-1]
    nearby = [root / stem, root / 'images' / stem]
    below = sorted(path for pattern in ('*/', '*/*/') for path in root.glob(pattern) if path.is_dir())
    nearby += [path for path in below if split and split_of(path.name) == split]
    candidates = [annotations.parent, *nearby, root, root / 'images', annotations.parent.parent, *below]
    candidates += [path for path in sorted(annotations.parent.glob('*/')) if path.is_dir()]
    candidates = [path for path in candidates if root not in path.parents or not is_hidden(path, root)]
    counts = [sum((directory / name).is_file() for name in sample) for directory in candidates]
    if not max(counts):
        raise PlanningError(
            f'{annotations}: its images are not found in {root} or the directories below it, for example '
            f'{sample[0]!r}; name their directory with {option}'
        )
    return candidates[counts.index(max(counts))]


def _part(annotations: Path, images: Optional[Path], root: Path, split: str) -> Optional[Part]:
    """Return a split, or None if it has no images."""
    names = _file_names(annotations)
    if not names:
        return None
    return Part(annotations, images or _image_directory(annotations, names, root, f'--{split}-images'))


def _layout(
    root: Path, train_file: Path, val_file: Optional[Path], parts: Parts, unused: Tuple[str, ...] = ()
) -> Layout:
    train = _part(train_file, parts.train_images, root, 'train')
    if not train:
        raise PlanningError(f'{train_file}: images is empty; expected the images that are annotated')
    val = _part(val_file, parts.val_images, root, 'val') if val_file else None
    if val_file and not val:
        unused = (*unused, f'{val_file} (has no images)')
    return Layout('coco', root, train, val, unused=unused)


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
        if parts.train_annotations.is_dir():  # of another format
            return None
        return _layout(root, parts.train_annotations, parts.val_annotations, parts)
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
    return _layout(root, train_file, val_file, parts, tuple(str(path.relative_to(root)) for path in unused))
