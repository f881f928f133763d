"""Plans the training of a detector for a data set: from a directory to a config."""

import contextlib
import math
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from mmengine.config import Config

from .anchors import choose_anchors
from .annotated_images import AnnotatedImage, dataset_cfg, read_annotated_images, read_classes
from .annotation_files import write_coco, write_part
from .config_text import config_text
from .fingerprint import Fingerprint, take_fingerprint
from .image_pass import look_at_images
from .importing import import_coco
from .layouts import Layout, Part, Parts, find_layout
from .near_copies import group_near_copies
from .pictures import draw_anchors, draw_samples
from .pipeline_boxes import PipelineSample, sample_pipeline
from .plan import Plan
from .planning_error import PlanningError
from .rules import Decision, apply_rules, choose_iterations, choose_workers
from .splitting import choose_val
from .timing import quiet, time_training

MAX_DAMAGED = 0.5  # share of the images; more are a wrong directory rather than damage


def plan_config(
    data: Path,
    output: Path,
    minutes: float = 20,
    data_format: Optional[str] = None,
    parts: Parts = Parts(),
    classes: Optional[Sequence[str]] = None,
    backbone: Optional[str] = None,
    seed: int = 0,
    command: str = 'mmthunder.apis.plan_config',
) -> Plan:
    """Plan the training of a detector for a data set, and write its config.

    Writes the config, and into the directory of the same name beside it two pictures and, where the data set has no
    validation split, has damaged images or is of a layout that mmdet does not read, annotation files.

    Args:
        data (Path): The data set's directory.
        output (Path): The config to write; a file that is there is replaced.
        minutes (float): Time that training, with its validations, may take on this machine. Defaults to 20.
        data_format (str, optional): ``'coco'``, ``'voc'`` or ``'yolo'``; None finds out. Defaults to None.
        parts (Parts): Files and directories of the splits, where they are ambiguous. Defaults to none.
        classes (Sequence[str], optional): Classes to detect; None takes all that have boxes. Defaults to None.
        backbone (str, optional): ``'snet49'``, ``'snet146'`` or ``'snet535'``; None chooses. Defaults to None.
        seed (int): Seed of the training. Defaults to 0.
        command (str): What the config names as its origin. Defaults to this function's name.

    Returns:
        Plan: The plan, with what was noticed about the data in ``notes``.

    Raises:
        PlanningError: If the data, the options or the time do not allow a plan.
    """
    data, output = Path(data), Path(output)
    if not 0 < minutes < math.inf:
        raise PlanningError(f'minutes is {minutes}; expected a positive number')
    layout = find_layout(data, data_format, parts)
    plan = Plan(layout, (), minutes, output, seed)
    if layout.unused:
        plan.notes.append(f'not used: {", ".join(layout.unused)}')
    if layout.format not in ('coco', 'voc'):
        plan.layout = _import(plan)
    plan.classes, train, val = _read(plan.layout, classes, plan.notes)
    plan.fingerprint = _look(plan, train, val)
    plan.decide(*apply_rules(plan.fingerprint, backbone))
    sample = _fit_anchors(plan)
    _fill_time(plan, sample)
    plan.directory.mkdir(parents=True, exist_ok=True)
    draw_samples(sample, plan.classes, plan.directory / 'samples.jpg')
    draw_anchors(sample.boxes, plan.value('anchors'), plan.value('input'), plan.directory / 'anchors.png')
    output.write_text(config_text(plan, command), encoding='utf-8')
    return plan


def _import(plan: Plan) -> Layout:
    """Import the annotations of a layout that mmdet does not read, into COCO files beside the config."""
    layout = plan.layout
    contents, damaged = import_coco(layout)
    plan.notes += damaged
    parts: Dict[str, Part] = {}
    for name, content in contents.items():
        path = plan.directory / f'{name}.json'
        write_coco(content, path)
        parts[name] = Part(path, layout.root)
        plan.notes.append(f'{layout.format} annotations are imported as {path}')
    return Layout('coco', layout.root, parts['train'], parts.get('val'))


def _read(
    layout: Layout, classes: Optional[Sequence[str]], notes: List[str]
) -> Tuple[Tuple[str, ...], List[AnnotatedImage], List[AnnotatedImage]]:
    """Read both splits with the classes that have boxes to learn from."""
    named = read_classes(layout)
    path = layout.train.annotations
    unknown = [name for name in classes or () if name not in named]
    if unknown:
        raise PlanningError(f'{path}: has no class {unknown[0]!r}; its classes are {", ".join(named)}')
    chosen = tuple(name for name in named if name in classes) if classes else named
    for final in (False, True):
        with quiet():
            train = read_annotated_images(dataset_cfg(layout, layout.train, chosen)) if chosen else []
            val = read_annotated_images(dataset_cfg(layout, layout.val, chosen)) if chosen and layout.val else []
        counts, val_counts = _count_boxes(train, len(chosen)), _count_boxes(val, len(chosen))
        if not counts.sum():
            raise PlanningError(f'{path}: has no boxes that can be learnt from; annotate the objects in the images')
        missing = [name for name, count, other in zip(chosen, counts, val_counts) if not count and (other or classes)]
        if missing:
            raise PlanningError(
                f'{path}: no training image has a box of {", ".join(map(repr, missing))}; move images with it to the '
                'training split, or name the other classes with --classes'
            )
        empty = [name for name, count in zip(chosen, counts) if not count]
        if final or not empty:
            return chosen, train, val
        notes.append(f'classes without a box are left out: {", ".join(empty)}')
        chosen = tuple(name for name in chosen if name not in empty)
    raise AssertionError('unreachable')


def _count_boxes(images: Sequence[AnnotatedImage], num_classes: int) -> np.ndarray:
    labels = np.concatenate([np.zeros(0, int), *(image.labels[~image.ignored] for image in images)])
    return np.bincount(labels, minlength=num_classes)


def _look(plan: Plan, train: List[AnnotatedImage], val: List[AnnotatedImage]) -> Fingerprint:
    """Look at every image, and settle the splits: without damaged images, with a validation split."""
    images = train + val
    if len(train) < 2:
        raise PlanningError(f'{plan.layout.train.annotations}: has {len(train)} image; expected at least 2')
    looks = look_at_images(images)
    damaged = [(image, look) for image, look in zip(images, looks) if look.damage]
    if len(damaged) > MAX_DAMAGED * len(images):
        image, look = damaged[0]
        raise PlanningError(
            f'{plan.layout.train.annotations}: {len(damaged)} of {len(images)} images cannot be used, for example '
            f'{image.path}: {look.damage}; name the directory of the images with --train-images'
        )
    plan.notes += [f'left out: {image.path}: {look.damage}' for image, look in damaged]
    good = [index for index, look in enumerate(looks) if not look.damage]
    groups = dict(zip(good, group_near_copies([looks[index].hash for index in good]).tolist()))
    train_index = [index for index in good if index < len(train)]
    val_index = [index for index in good if index >= len(train)]
    changed = bool(damaged)
    if plan.layout.val is None:
        candidates = [images[index] for index in train_index]
        group = np.array([groups[index] for index in train_index])
        chosen = {train_index[i] for i in choose_val(candidates, group, len(plan.classes))}
        if not chosen:
            raise PlanningError(
                f'{plan.layout.train.annotations}: too few different images for a validation split; add images, or '
                'name one with --val-annotations'
            )
        train_index, val_index = [i for i in train_index if i not in chosen], sorted(chosen)
        changed = True
        plan.notes.append(f'no validation split: {len(val_index)} of {len(good)} images are held out')
    else:
        _note_near_copies(plan, images, groups, train_index, val_index)
    if not val_index or not train_index:
        raise PlanningError(f'{plan.layout.root}: no image is left to {"train" if val_index else "validate"} on')
    if changed:
        source = plan.layout
        train_ids, val_ids = ([images[i].image_id for i in index] for index in (train_index, val_index))
        # Imported annotations are in train.json itself, so it is written last.
        val_part = write_part(source.val or source.train, source.format, val_ids, plan.directory / 'val')
        train_part = write_part(source.train, source.format, train_ids, plan.directory / 'train')
        plan.layout = replace(source, train=train_part, val=val_part)
    return take_fingerprint(
        [images[i] for i in train_index], [images[i] for i in val_index], [looks[i] for i in train_index], plan.classes
    )


def _note_near_copies(
    plan: Plan, images: Sequence[AnnotatedImage], groups: Dict[int, int], train: Sequence[int], val: Sequence[int]
) -> None:
    """Note images that are in both splits."""
    twins = {groups[index]: index for index in train}
    pairs = [(twins[groups[index]], index) for index in val if groups[index] in twins]
    for first, second in pairs[:5]:
        plan.notes.append(f'near-copies in train and val: {images[first].path} and {images[second].path}')
    if len(pairs) > 5:
        plan.notes.append(f'near-copies in train and val: {len(pairs) - 5} more images of val')


@contextlib.contextmanager
def _draft(plan: Plan) -> Iterator[Config]:
    """Read the config as planned so far; it lies where it will be, for its relative paths."""
    plan.output.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp('.py', f'{plan.output.stem}_draft_', plan.output.parent)
    os.close(handle)
    try:
        Path(name).write_text(config_text(plan, 'draft'), encoding='utf-8')
        yield Config.fromfile(name)
    finally:
        os.remove(name)


def _fit_anchors(plan: Plan) -> PipelineSample:
    """Choose anchors for the boxes that come out of the training pipeline."""
    with _draft(plan) as cfg:
        sample = sample_pipeline(cfg)
    anchors, missed = choose_anchors(sample.boxes, plan.value('input').stride)
    sides = np.sqrt((sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(1))
    low, middle, high = np.percentile(sides, [5, 50, 95])
    plan.decide(
        Decision(
            'anchors',
            anchors,
            f'k-means of {len(sample.boxes)} boxes of {low:.0f}, {middle:.0f}, {high:.0f} px (5, 50, 95 %) after the '
            f'pipeline; {missed:.1%} are met by none at IoU 0.5',
        )
    )
    return sample


def _fill_time(plan: Plan, sample: PipelineSample) -> None:
    """Time some steps, and plan the iterations that fill the time."""
    with _draft(plan) as cfg:
        timing = time_training(cfg, seconds=min(20, max(plan.minutes * 2, 2)))
    plan.decide(choose_workers(sample.seconds, timing.step, plan.value('batch'), os.cpu_count() or 1))
    plan.decide(*choose_iterations(plan.fingerprint.num_train, plan.minutes, timing, plan.value('batch')))
