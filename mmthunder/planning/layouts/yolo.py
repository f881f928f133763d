"""YOLO annotations: a class list and a text file per image."""

import math
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import yaml

from ..planning_error import PlanningError
from .layout import Layout, Part, Parts, files_below, image_files, read_lines, split_of_path

NAME_FILES = ('classes.txt', 'obj.names', '_darknet.labels')


def _class_names(names: Any, path: Path) -> Tuple[str, ...]:
    """Return the class list of a data.yaml, where it is a list or a mapping from number to name."""
    if isinstance(names, dict):
        try:
            numbers = {int(number): str(name) for number, name in names.items()}
        except ValueError:
            numbers = {}
        if sorted(numbers) == list(range(len(names))):
            return tuple(numbers[number] for number in range(len(names)))
    if isinstance(names, list) and names:
        return tuple(map(str, names))
    raise PlanningError(f'{path}: names is {names!r:.80}; expected the list of class names')


def _labels_of(image: Path) -> Optional[Path]:
    """Return the annotation file of an image: in ``labels`` parallel to ``images``, or beside the image."""
    parts = list(image.with_suffix('.txt').parts)
    beside = Path(*parts)
    if 'images' in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index('images')
        parts[last] = 'labels'
        parallel = Path(*parts)
        if parallel.is_file():
            return parallel
    return beside if beside.is_file() else None


def _part(images: List[Path], source: Path, root: Path) -> Part:
    pairs = [(path, _labels_of(path)) for path in images]
    if not any(label for _, label in pairs):
        # One directory of images and one of labels, whatever their names.
        stems = {path.stem for path in images}
        labels = [path for path in files_below(root, ('.txt',)) if path.stem in stems]
        if len({path.parent for path in images}) == len({path.parent for path in labels}) == 1:
            by_stem = {path.stem: path for path in labels}
            pairs = [(path, by_stem.get(path.stem)) for path in images]
    return Part(source, root, tuple(pairs))


def _find_place(name: Any, source: Path, base: Path) -> Optional[Path]:
    """Return the path that a data.yaml or a list names, or None if it is not there."""
    name = str(name).replace('\\', '/')
    # Exports write '../train/images', CVAT's lists 'data/images', though the directory is beside the file.
    names = (re.sub(r'^(\.\./)+', '', name), name, re.sub('^data/', '', name))
    options = [parent / name for name in names for parent in (base, source.parent)]
    return next((path for path in options if path.exists()), None)


def _listed_images(entries: List[Any], source: Path, base: Path) -> List[Path]:
    """Return the images of a split in data.yaml: of directories, and of text files with a path in each line."""
    images: List[Path] = []
    for name in entries:
        place = _find_place(name, source, base)
        if place is None:
            raise PlanningError(f'{source}: {name!r} is not there; correct the path, it is relative to {base}')
        if place.is_dir():
            images += image_files(place)
        else:
            images += [_find_place(line, place, base) or place.parent / line for line in read_lines(place)]
    return images


def _splits_of_yaml(content: Dict[str, Any], source: Path) -> Tuple[Dict[str, List[Path]], List[str]]:
    """Return the images of each split of a data.yaml, and what it names as validation split but has no images."""
    splits, unused = {}, []
    base = source.parent / str(content.get('path') or '').replace('\\', '/')
    base = base if base.is_dir() else source.parent
    for name, keys in (('train', ('train',)), ('val', ('val', 'valid')), ('test', ('test',))):
        entries = next((content[key] for key in keys if content.get(key)), [])
        entries = entries if isinstance(entries, list) else [entries]
        # Exports name directories that they do not have.
        if entries and (name == 'train' or any(_find_place(entry, source, base) for entry in entries)):
            splits[name] = _listed_images(entries, source, base)
        if name == 'val' and entries and not splits.get(name):
            unused.append(f'{entries[0]} (has no images)')
    return splits, unused


def _keypoint_numbers(content: Dict[str, Any]) -> int:
    shape = content.get('kpt_shape')
    is_shape = isinstance(shape, list) and all(isinstance(number, int) for number in shape)
    return math.prod(shape) if is_shape else 0


def _find_yaml(root: Path) -> Tuple[Optional[Path], Dict[str, Any]]:
    """Find the data.yaml, of any name, and return it with its content."""
    for path in sorted((*root.glob('*.yaml'), *root.glob('*.yml'))):
        text = path.read_bytes()
        if b'names' not in text:  # of something else, which may have tags of its own
            continue
        try:
            content = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            raise PlanningError(f'{path}: not readable as YAML ({" ".join(str(error).split())})') from None
        if isinstance(content, dict) and 'names' in content:
            return path, content
    return None, {}


def find_yolo(root: Path, parts: Parts) -> Optional[Layout]:
    """Look for YOLO annotations.

    Args:
        root (Path): The data set's directory.
        parts (Parts): Parts that the user named: directories of text files and of images.

    Returns:
        Layout | None: The layout, or None if there is neither a ``data.yaml`` with names nor a class list.

    Raises:
        PlanningError: If the class list or a path in it is wrong, or there is no annotation file.
    """
    source, content = _find_yaml(root)
    keypoints = _keypoint_numbers(content)
    splits: Dict[str, List[Path]] = {}
    unused: List[str] = []
    if source:
        classes = _class_names(content['names'], source)
        splits, unused = _splits_of_yaml(content, source)
    else:
        suffixes = {Path(name).suffix for name in NAME_FILES}
        lists = [path for path in files_below(root, suffixes) if path.name in NAME_FILES]
        if not lists:
            return None
        source = min(lists, key=lambda path: (len(path.parts), NAME_FILES.index(path.name)))
        classes = tuple(read_lines(source))
    if not splits:
        for path in image_files(root):
            splits.setdefault(split_of_path(path, root) or 'train', []).append(path)
    if parts.train_annotations or parts.train_images:
        return _find_named(root, parts, classes, keypoints)
    if not splits.get('train'):
        raise PlanningError(f'{source}: no training images are found; name their directory with --train-images')
    train = _part(splits['train'], source, root)
    if not any(label for _, label in train.pairs):
        raise PlanningError(
            f'{train.pairs[0][0]}: has no annotation file, nor has any other image; expected a text file in labels/ '
            'parallel to images/ or beside each image, or name the directories with --train-annotations'
        )
    val = _part(splits['val'], source, root) if splits.get('val') else None
    unused += ['test'] if 'test' in splits else []
    return Layout('yolo', root, train, val, classes, tuple(unused), keypoints)


def _find_named(root: Path, parts: Parts, classes: Tuple[str, ...], keypoints: int) -> Layout:
    def named(annotations: Optional[Path], images: Optional[Path]) -> Part:
        directory = images or annotations
        pairs = []
        for image in image_files(directory):
            if annotations:
                label = annotations / image.relative_to(directory).with_suffix('.txt')
                pairs.append((image, label if label.is_file() else None))
            else:
                pairs.append((image, _labels_of(image)))
        return Part(annotations or images, root, tuple(pairs))

    val = named(parts.val_annotations, parts.val_images) if parts.val_annotations or parts.val_images else None
    train = named(parts.train_annotations, parts.train_images)
    return Layout('yolo', root, train, val, classes, keypoints=keypoints)
