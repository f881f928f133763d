"""YOLO annotations: a class list and a text file per image."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import yaml

from ..planning_error import PlanningError
from .layout import Layout, Part, Parts, image_files, split_of_path

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
    return Part(source, root, tuple((path, _labels_of(path)) for path in images))


def _listed_images(entry: Any, source: Path, base: Path) -> List[Path]:
    """Return the images of an entry of data.yaml: a directory, a text file with a path in each line, or several."""
    images: List[Path] = []
    for name in entry if isinstance(entry, list) else [entry]:
        # Exports write '../train/images' though the directory is beside data.yaml.
        options = [base / str(name), source.parent / str(name), source.parent / str(name).replace('../', '')]
        place = next((path for path in options if path.exists()), None)
        if place is None:
            raise PlanningError(f'{source}: {name!r} is not there; correct the path, it is relative to {base}')
        if place.is_dir():
            images += image_files(place)
        else:
            lines = place.read_text(encoding='utf-8').split('\n')
            images += [path if path.is_absolute() else place.parent / path for path in map(Path, lines) if path.name]
    return images


def _find_yaml(root: Path) -> Optional[Path]:
    for path in sorted((*root.glob('*.yaml'), *root.glob('*.yml'))):
        try:
            content = yaml.safe_load(path.read_text(encoding='utf-8'))
        except yaml.YAMLError as error:
            raise PlanningError(f'{path}: not readable as YAML ({" ".join(str(error).split())})') from None
        if isinstance(content, dict) and 'names' in content:
            return path
    return None


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
    source = _find_yaml(root)
    splits: Dict[str, List[Path]] = {}
    if source:
        content = yaml.safe_load(source.read_text(encoding='utf-8'))
        classes = _class_names(content['names'], source)
        base = source.parent / str(content.get('path') or '')
        base = base if base.is_dir() else source.parent
        for name, keys in (('train', ('train',)), ('val', ('val', 'valid')), ('test', ('test',))):
            entry = next((content[key] for key in keys if content.get(key)), None)
            # Exports name a test directory that they do not have.
            if entry and (name != 'test' or (base / str(entry)).exists()):
                splits[name] = _listed_images(entry, source, base)
    else:
        lists = [path for name in NAME_FILES for path in sorted((*root.glob(name), *root.glob(f'*/{name}')))]
        if not lists:
            return None
        source = lists[0]
        classes = tuple(line.strip() for line in source.read_text(encoding='utf-8').splitlines() if line.strip())
    if not splits:
        for path in image_files(root):
            splits.setdefault(split_of_path(path, root) or 'train', []).append(path)
    if parts.train_annotations or parts.train_images:
        return _find_named(root, parts, classes)
    if not splits.get('train'):
        raise PlanningError(f'{source}: no training images are found; name their directory with --train-images')
    train = _part(splits['train'], source, root)
    if not any(label for _, label in train.pairs):
        raise PlanningError(
            f'{train.pairs[0][0]}: has no annotation file, nor has any other image; expected a text file in labels/ '
            'parallel to images/ or beside each image, or name the directories with --train-annotations'
        )
    val = _part(splits['val'], source, root) if splits.get('val') else None
    return Layout('yolo', root, train, val, classes, ('test',) if 'test' in splits else ())


def _find_named(root: Path, parts: Parts, classes: Tuple[str, ...]) -> Layout:
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
    return Layout('yolo', root, named(parts.train_annotations, parts.train_images), val, classes)
