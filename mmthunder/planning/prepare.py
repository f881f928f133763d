"""Prepares a data set for training: annotations that mmdet reads, images that decode, a validation split."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from mmthunder.datasets import AnnotationError
from mmthunder.datasets.image_files import NO_SUCH_FILE

from .annotated_images import AnnotatedImage, dataset_cfg, keep_classes, read_annotated_images, read_classes
from .annotation_files import complete_part, write_coco, write_part
from .fingerprint import Fingerprint, take_fingerprint
from .frames import describe_other_sizes, describe_size
from .image_pass import ImageFacts, inspect_images
from .importing import MAX_DAMAGED, import_coco
from .layouts import Layout, Part
from .near_copies import group_near_copies
from .planning_error import PlanningError
from .quiet import quiet
from .splitting import RATIO, choose_val

SEQUENCE_PARTS = 10  # of which some are the validation split
NOTED_PAIRS = 5  # of near-copies


@dataclass
class Prepared:
    """A data set that can be trained on.

    Attributes:
        layout (Layout): Both splits, in the format ``'coco'`` or ``'voc'``.
        classes (tuple[str]): Classes with boxes to learn from.
        fingerprint (Fingerprint): The numbers of the data.
        notes (list[str]): What was noticed and done, a line each.
    """

    layout: Layout
    classes: Tuple[str, ...]
    fingerprint: Fingerprint
    notes: List[str] = field(default_factory=list)


def prepare(layout: Layout, directory: Path, classes: Optional[Sequence[str]] = None) -> Prepared:
    """Prepare a data set.

    The data set itself stays as it is. Annotation files are written where its own cannot be used: for formats that
    mmdet does not read, for a validation split, and without images that do not decode.

    Args:
        layout (Layout): The data set.
        directory (Path): Where annotation files are written.
        classes (Sequence[str], optional): Classes to keep; None keeps all that have boxes. Defaults to None.

    Returns:
        Prepared: The data set, prepared.

    Raises:
        PlanningError: If there is nothing to learn from, or an annotation file is damaged or wrong.
    """
    notes = [f'not used: {", ".join(layout.unused)}'] if layout.unused else []
    try:
        layout = _readable(layout, directory, notes)
        classes, splits = _read(layout, classes, notes)
    except (AnnotationError, FileNotFoundError) as error:
        raise PlanningError(str(error)) from None
    images = splits['train'] + splits['val']
    if len(splits['train']) < 2:
        raise PlanningError(f'{layout.train.annotations}: has {len(splits["train"])} image; expected at least 2')
    facts = inspect_images(images)
    good = _without_damage(layout, images, facts, notes)
    groups = dict(zip(good, group_near_copies([facts[index].hash for index in good]).tolist()))
    train = [index for index in good if index < len(splits['train'])]
    val = [index for index in good if index >= len(splits['train'])]
    if layout.val:
        _note_near_copies(images, groups, train, val, notes)
    else:
        train, val = _divide(layout, images, groups, train, len(classes), notes)
        notes.append(f'no validation split: {len(val)} of {len(good)} images are held out')
    if not train or not val:
        raise PlanningError(f'{layout.root}: no image is left to {"validate" if train else "train"} on')
    if layout.val is None or len(good) < len(images):
        val_part = write_part(
            layout.val or layout.train, layout.format, [images[i].image_id for i in val], directory / 'val'
        )
        # Imported annotations are in train.json itself, so it is written last.
        train_part = write_part(layout.train, layout.format, [images[i].image_id for i in train], directory / 'train')
        layout = replace(layout, train=train_part, val=val_part)
    fingerprint = take_fingerprint(
        [images[i] for i in train], [images[i] for i in val], [facts[i] for i in train], classes
    )
    return Prepared(layout, classes, fingerprint, notes)


def _readable(layout: Layout, directory: Path, notes: List[str]) -> Layout:
    """Import annotations that mmdet does not read, and complete COCO annotations that lack something."""
    parts: Dict[str, Part] = {name: part for name, part in (('train', layout.train), ('val', layout.val)) if part}
    if layout.format == 'coco':
        for name, part in parts.items():
            parts[name], done = complete_part(part, directory / f'{name}.json')
            notes += done
    elif layout.format != 'voc':
        contents, noticed = import_coco(layout)
        notes += noticed
        for name, content in contents.items():
            path = directory / f'{name}.json'
            write_coco(content, path)
            parts[name] = Part(path, layout.root)
            notes.append(f'{layout.format} annotations are imported as {path}')
    data_format = 'voc' if layout.format == 'voc' else 'coco'
    return Layout(data_format, layout.root, parts['train'], parts.get('val'))


def _read(
    layout: Layout, wanted: Optional[Sequence[str]], notes: List[str]
) -> Tuple[Tuple[str, ...], Dict[str, List[AnnotatedImage]]]:
    """Read both splits and choose the classes that have boxes to learn from."""
    path, classes = layout.train.annotations, read_classes(layout)
    unknown = [name for name in wanted or () if name not in classes]
    if unknown:
        raise PlanningError(f'{path}: has no class {unknown[0]!r}; its classes are {", ".join(classes)}')
    splits: Dict[str, List[AnnotatedImage]] = dict(train=[], val=[])
    found: List[str] = []
    for name, part in (('train', layout.train), ('val', layout.val)):
        if part and classes:
            with quiet():
                splits[name], warnings = read_annotated_images(dataset_cfg(layout, part, classes), name == 'train')
            found += warnings
    notes += found
    counts, val_counts = (_count_boxes(images, len(classes)) for images in splits.values())
    chosen = [name for name in classes if wanted is None or name in wanted]
    empty = [name for name in chosen if not counts[classes.index(name)]]
    if len(empty) == len(chosen):
        why = f': {found[0]}' if found else '; annotate the objects in the images'
        raise PlanningError(f'{path}: has no boxes to learn from{why}')
    missing = [name for name in empty if wanted or val_counts[classes.index(name)]]
    if missing:
        raise PlanningError(
            f'{path}: no training image has a box of {", ".join(map(repr, missing))}; move images with it to the '
            'training split, or name the other classes with --classes'
        )
    if empty:
        notes.append(f'classes without a box are left out: {", ".join(empty)}')
    kept = tuple(name for name in chosen if name not in empty)
    labels = [classes.index(name) for name in kept]
    unseen = [name for name, label in zip(kept, labels) if not val_counts[label]]
    if layout.val and unseen:
        notes.append(f'no validation image has a box of {", ".join(map(repr, unseen))}, whose AP is not measured')
    return kept, {name: keep_classes(images, labels) for name, images in splits.items()}


def _count_boxes(images: Sequence[AnnotatedImage], num_classes: int) -> np.ndarray:
    labels = np.concatenate([np.zeros(0, int), *(image.labels[~image.ignored] for image in images)])
    return np.bincount(labels, minlength=num_classes)


def _without_damage(
    layout: Layout, images: Sequence[AnnotatedImage], facts: Sequence[ImageFacts], notes: List[str]
) -> List[int]:
    """Return the indices of images that can be used; the others are noted."""
    damaged = [(image.path, fact.damage) for image, fact in zip(images, facts) if fact.damage]
    if len(damaged) > MAX_DAMAGED * len(images):
        hint = 'name the directory of the images with --train-images'
        if NO_SUCH_FILE not in damaged[0][1]:
            hint = 'restore the images that were annotated, or annotate these'
        raise PlanningError(
            f'{layout.train.annotations}: {len(damaged)} of {len(images)} images cannot be used, for example '
            f'{damaged[0][0]}: {damaged[0][1]}; {hint}'
        )
    notes += [f'left out: {path}: {damage}' for path, damage in damaged]
    resized = [
        f'{image.path} {describe_size(fact.size, (image.width, image.height))}'
        for image, fact in zip(images, facts)
        if not fact.damage and fact.size != (image.width, image.height)
    ]
    notes += describe_other_sizes(resized)
    notes += [f'cut off, used in part: {image.path}' for image, fact in zip(images, facts) if fact.cut_off]
    return [index for index, fact in enumerate(facts) if not fact.damage]


def _divide(
    layout: Layout,
    images: Sequence[AnnotatedImage],
    groups: Dict[int, int],
    candidates: Sequence[int],
    classes: int,
    notes: List[str],
) -> Tuple[List[int], List[int]]:
    """Divide the images into a training and a validation split."""
    images = [images[i] for i in candidates]
    chosen = choose_val(images, np.array([groups[i] for i in candidates]), classes)
    if len(chosen) < RATIO / 2 * len(images):
        # As of a camera that stands still: parts of the sequence, which is the order of the names.
        order = np.argsort(np.argsort([image.path for image in images]))
        parts = choose_val(images, order * SEQUENCE_PARTS // len(images), classes)
        if len(parts) > len(chosen):
            chosen = parts
            notes.append('most images are near-copies of others, so that training and validation images are alike too')
    if not chosen:
        raise PlanningError(
            f'{layout.train.annotations}: too few different images for a validation split; add images, or name one '
            'with --val-annotations'
        )
    val = [candidates[i] for i in chosen]
    return sorted(set(candidates) - set(val)), val


def _note_near_copies(
    images: Sequence[AnnotatedImage],
    groups: Dict[int, int],
    train: Sequence[int],
    val: Sequence[int],
    notes: List[str],
) -> None:
    """Note images that are in both splits."""
    twins = {groups[index]: index for index in train}
    pairs = [(twins[groups[index]], index) for index in val if groups[index] in twins]
    for first, second in pairs[:NOTED_PAIRS]:
        notes.append(f'near-copies in train and val: {images[first].path} and {images[second].path}')
    if len(pairs) > NOTED_PAIRS:
        notes.append(f'near-copies in train and val: {len(pairs) - NOTED_PAIRS} more images of val')
