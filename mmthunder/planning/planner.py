"""Plans the training of a detector for a data set: from a directory to a config."""

import contextlib
import math
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional, Sequence

import numpy as np
from mmengine.config import Config

from mmthunder.utils.atomic_write import atomic_write
from mmthunder.utils.other_load import describe_other_load

from .anchors import best_ious, choose_anchors
from .backbones import BACKBONES
from .config_text import config_text
from .layouts import Parts, find_layout
from .pictures import draw_anchors, draw_samples
from .pipeline_boxes import PipelineSample, sample_pipeline
from .plan import Plan
from .planning_error import PlanningError
from .prepare import prepare
from .rules import BACKBONE, Decision, apply_rules, choose_iterations, choose_lr, choose_num_workers
from .timing import time_training

POSITIVE = ('nms_pre', 'proposals', 'max_per_img', 'batch_size', 'lr', 'max_iters', 'val_interval', 'warmup')
MOST_UNMATCHED = 0.5  # share of the boxes; more are worth a note
# Of decisions that need a measurement, for the config that is measured.
DRAFT = dict(anchors=[(64, 64)], num_workers=1, max_iters=1000, val_interval=1000, warmup=100)


def plan_config(
    data: Path,
    output: Path,
    minutes: float = 20,
    data_format: Optional[str] = None,
    parts: Parts = Parts(),
    classes: Optional[Sequence[str]] = None,
    decisions: Optional[Mapping[str, Any]] = None,
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
        decisions (Mapping[str, object], optional): Decisions to make otherwise than the rules, by the names of the
            config's variables, for example ``dict(lr=0.002, backbone='snet146')``. Defaults to None.
        seed (int): Seed of the training. Defaults to 0.
        command (str): What the config names as its origin. Defaults to this function's name.

    Returns:
        Plan: The plan, with what was noticed about the data in ``notes``.

    Raises:
        PlanningError: If the data, the options or the time do not allow a plan.
    """
    data, output = Path(data), Path(output)
    given = dict(decisions or {})
    if not 0 < minutes < math.inf:
        raise PlanningError(f'minutes is {minutes}; expected a positive number')
    backbone = given.get('backbone', BACKBONE)
    if backbone not in BACKBONES:
        raise PlanningError(f'backbone is {backbone!r}; expected one of {", ".join(BACKBONES)}')
    BACKBONES[backbone].check()
    _check_given(given, backbone)
    if data.resolve() in (output.with_suffix('').resolve(), *output.resolve().parents):
        raise PlanningError(
            f'{output}: lies in the data set, where the files of the plan would mix with its own; give an output '
            f'outside of {data}'
        )
    prepared = prepare(find_layout(data, data_format, parts), output.with_suffix(''), classes)
    plan = Plan(prepared.layout, prepared.classes, prepared.fingerprint, minutes, output, seed, prepared.notes, given)
    plan.decide(*apply_rules(plan.fingerprint, given.get('input_size'), given.get('stride')))
    plan.decide(choose_lr(plan.value('batch_size'), BACKBONES[backbone].pretrained))
    known = [*plan.decisions, *DRAFT]
    for name in given:
        if name not in known:
            raise PlanningError(f'there is no decision {name!r}; there are {", ".join(known)}')
    sample = _fit_anchors(plan)
    _fill_time(plan, sample)
    plan.directory.mkdir(parents=True, exist_ok=True)
    draw_samples(sample, plan.classes, plan.directory / 'samples.jpg')
    draw_anchors(sample.boxes, plan, plan.directory / 'anchors.png')
    atomic_write(output, config_text(plan, command).encode('utf-8'))
    return plan


def _check_given(given: Mapping[str, Any], backbone: str) -> None:
    """Check the values of decisions that would fail later, in the middle of mmdet."""
    for name in POSITIVE:
        value = given.get(name, 1)
        if not isinstance(value, (int, float)) or value <= 0:
            raise PlanningError(f'{name} is {value!r}; expected a positive number')
    strides = BACKBONES[backbone].levels
    if given.get('stride', 8) not in strides:
        raise PlanningError(f'stride is {given["stride"]!r}; {backbone} has {" and ".join(map(str, sorted(strides)))}')
    size = given.get('input_size', (32, 32))
    if not isinstance(size, (tuple, list)) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        raise PlanningError(f'input_size is {size!r}; expected (width, height) in pixels')


@contextlib.contextmanager
def _draft(plan: Plan) -> Iterator[Config]:
    """Read the config as planned so far; it lies where it will be, for its relative paths."""
    missing = {name: Decision(name, value, '') for name, value in DRAFT.items() if name not in plan.decisions}
    text = config_text(replace(plan, decisions={**plan.decisions, **missing}), 'draft')
    plan.output.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp('.py', f'{plan.output.stem}_draft_', plan.output.parent)
    os.close(handle)
    try:
        Path(name).write_text(text, encoding='utf-8')
        yield Config.fromfile(name)
    finally:
        os.remove(name)


def _fit_anchors(plan: Plan) -> PipelineSample:
    """Choose anchors for the boxes that come out of the training pipeline."""
    with _draft(plan) as cfg:
        sample = sample_pipeline(cfg)
    stride = plan.value('stride')
    size = 'x'.join(map(str, plan.value('input_size')))
    advice = 'cut the images into tiles, or try a larger input: --decide input_size="(WIDTH, HEIGHT)"'
    if not len(sample.boxes):
        raise PlanningError(f'{plan.layout.root}: no object has 2 px in the input of {size} px; {advice}')
    anchors = choose_anchors(sample.boxes, stride)
    unmatched = (best_ious(sample.boxes, np.array(anchors), stride) < 0.5).mean()
    low, middle, high = np.percentile(np.sqrt((sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(1)), [5, 50, 95])
    reason = (
        f'fitted to {len(sample.boxes)} boxes of {low:.0f}, {middle:.0f} and {high:.0f} px (5, 50, 95 %) after the '
        f'pipeline; {unmatched:.1%} of them match none at IoU 0.5'
    )
    plan.decide(Decision('anchors', anchors, reason))
    if unmatched > MOST_UNMATCHED:
        plan.notes.append(f'anchors match few objects, which are about {middle:.0f} px of {size}; {advice}')
    return sample


def _fill_time(plan: Plan, sample: PipelineSample) -> None:
    """Time some steps, and plan the data workers and the iterations that fill the time."""
    load = describe_other_load('steps take longer beside them, and fewer fill the time: plan again without them')
    if load:
        plan.notes.append(load)
    batch_size, cores, used = plan.value('batch_size'), os.cpu_count() or 1, 0
    while plan.value('num_workers', DRAFT['num_workers']) > used:
        used = plan.value('num_workers', DRAFT['num_workers'])
        with _draft(plan) as cfg:
            timing = time_training(cfg, seconds=float(np.clip(plan.minutes * 2, 2, 20)))
        plan.decide(choose_num_workers(sample.seconds, timing.step, batch_size, cores))
    given = plan.given.get('max_iters')
    plan.decide(*choose_iterations(plan.fingerprint.num_train, plan.minutes, timing, batch_size, given))
