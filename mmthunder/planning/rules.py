"""The rules: each decides one thing from a fingerprint, and gives its reason.

A rule is a function of numbers alone, so that it can be read, tested and changed by itself.
"""

import math
from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

import numpy as np

from .anchors import best_ious, fit_anchors
from .fingerprint import Fingerprint
from .planning_error import PlanningError
from .timing import Timing

MET = 0.9  # share of boxes that an anchor should meet at IoU 0.5
# Side of a square of as many pixels, stride, and the cost of a training step in units of 320 px at stride 16.
INPUTS = tuple(
    sorted(
        (
            (side, stride, (side / 320) ** 2 * (1 if stride == 16 else 1.55))
            for side in (320, 416, 512, 640)
            for stride in (16, 8)
        ),
        key=lambda option: option[2],
    )
)
SAMPLE = 4000  # boxes that recall is estimated on
LR = 1e-3  # AdamW, 8 images
RESERVE = 0.04  # share of the time that is kept for what was not measured
VAL_SHARE, MAX_VALIDATIONS = 0.1, 5


@dataclass(frozen=True)
class Decision:
    """A decision of the plan.

    Attributes:
        name (str): What is decided.
        value (object): The decision.
        reason (str): Why, with the number behind it.
    """

    name: str
    value: Any
    reason: str

    @property
    def text(self) -> str:
        """The value for people."""
        if isinstance(self.value, dict):
            return ', '.join(f'{key}={value}' for key, value in self.value.items())
        return str(self.value)


@dataclass(frozen=True)
class Input:
    """What the network sees.

    Attributes:
        size (tuple[int, int]): Width and height in pixels to which images are stretched.
        stride (int): Of the map that has the anchors.
    """

    size: Tuple[int, int]
    stride: int

    def __str__(self) -> str:
        return f'{self.size[0]}x{self.size[1]} px, stride {self.stride}'


def input_size(fingerprint: Fingerprint, side: int) -> Tuple[int, int]:
    """Return a size of about ``side * side`` pixels in the images' aspect ratio, in multiples of 32 px.

    Images of many aspect ratios are stretched to a square.
    """
    aspects = fingerprint.image_sizes[:, 0] / fingerprint.image_sizes[:, 1]
    low, middle, high = np.percentile(aspects, [10, 50, 90])
    if high / low > 1.25:
        return side, side
    aspect = float(np.clip(middle, 0.25, 4))
    width, height = (max(round(side * factor / 32), 2) * 32 for factor in (aspect**0.5, aspect**-0.5))
    return width, height


def missed_boxes(fingerprint: Fingerprint, size: Tuple[int, int], stride: int) -> float:
    """Estimate the share of boxes that none of 25 fitted anchors meets at IoU 0.5 in images stretched to a size."""
    boxes = fingerprint.relative_boxes
    boxes = boxes[:: max(len(boxes) // SAMPLE, 1)] * np.tile(size, 2)
    return float((best_ious(boxes, fit_anchors(boxes, 25, stride), stride) < 0.5).mean())


def choose_input(fingerprint: Fingerprint) -> Decision:
    """Choose input size and stride: the cheapest with which anchors meet most boxes."""
    best: Optional[Tuple[float, Input]] = None
    for side, stride, _ in INPUTS:
        size = input_size(fingerprint, side)
        missed = missed_boxes(fingerprint, size, stride)
        if best is None or missed < best[0] - 0.02:
            best = missed, Input(size, stride)
        if missed <= 1 - MET:
            break
    missed, chosen = best
    width, height = chosen.size
    sizes = np.sqrt((fingerprint.relative_boxes[:, 2:] - fingerprint.relative_boxes[:, :2]).prod(1) * width * height)
    low, middle, high = np.percentile(sizes, [5, 50, 95])
    return Decision(
        'input',
        chosen,
        f'boxes are {low:.0f}, {middle:.0f}, {high:.0f} px (5, 50, 95 %); anchors can meet {1 - missed:.0%} of them',
    )


def choose_flips(fingerprint: Fingerprint) -> Decision:
    """Choose the directions in which images are flipped: none where it would change a class."""
    if fingerprint.one_sided:
        names = ', '.join(map(repr, fingerprint.one_sided[:3]))
        return Decision('flips', (), f'a mirror image would change the class {names}')
    if fingerprint.no_upside:
        return Decision('flips', ('horizontal', 'vertical', 'diagonal'), 'objects look alike upside down')
    return Decision('flips', ('horizontal',), 'objects have an upper side')


def choose_colour(fingerprint: Fingerprint) -> Decision:
    """Choose the photometric distortion: of brightness and contrast alone for grey images."""
    mild = dict(brightness_delta=32, contrast_range=(0.7, 1.3), saturation_range=(0.7, 1.3), hue_delta=9)
    if fingerprint.grey > 0.9:
        grey = dict(mild, saturation_range=(1, 1), hue_delta=0)
        return Decision('colour', grey, f'{fingerprint.grey:.0%} of the images are grey')
    return Decision('colour', mild, f'{1 - fingerprint.grey:.0%} of the images have colours; half of the usual range')


def choose_proposals(fingerprint: Fingerprint) -> Decision:
    """Choose the number of proposals per image by the number of objects in crowded images."""
    most = int(np.percentile(fingerprint.boxes_per_image, 99))
    return Decision('proposals', 500 if most > 30 else 300, f'99 % of the images have at most {most} boxes')


def choose_detections(fingerprint: Fingerprint) -> Decision:
    """Choose the largest number of detections of an image."""
    most = int(fingerprint.boxes_per_image.max())
    return Decision('detections', 100 if most <= 50 else 300, f'an image has at most {most} boxes')


def choose_nms(fingerprint: Fingerprint) -> Decision:
    """Choose between soft-NMS, which keeps overlapping objects, and NMS."""
    return Decision('nms', 'soft_nms', f'{fingerprint.crowded:.1%} of the boxes overlap another one by IoU 0.5')


def choose_class_weight(fingerprint: Fingerprint) -> Decision:
    """Choose the weights of the classes in the classification loss: more for rare ones."""
    counts = np.array(fingerprint.class_counts, float)
    share = counts / counts.sum()
    weights = np.clip(np.sqrt(0.5 / len(counts) / share), 1, 3).round(1)
    rarest = fingerprint.classes[int(counts.argmin())]
    reason = f'the rarest class, {rarest!r}, has {share.min():.1%} of the boxes'
    if (weights == 1).all():
        return Decision('class_weight', None, reason)
    return Decision('class_weight', [*weights.tolist(), 1.0], f'{reason}; the last weight is the background')


def choose_backbone(fingerprint: Fingerprint, name: Optional[str] = None) -> Decision:
    """Choose the backbone."""
    if name:
        return Decision('backbone', name, 'as asked for')
    return Decision('backbone', 'snet49', 'the cheapest; larger ones need hours')


def choose_batch(fingerprint: Fingerprint) -> Decision:
    """Choose the batch size: smaller where an epoch would have only a few steps."""
    batch = 8 if fingerprint.num_train >= 64 else 4
    return Decision(
        'batch', batch, f'{fingerprint.num_train} images are {fingerprint.num_train / batch:.0f} steps an epoch'
    )


def choose_lr(batch: int) -> Decision:
    """Choose AdamW's peak learning rate: proportional to the square root of the batch size."""
    return Decision('lr', round(LR * (batch / 8) ** 0.5, 5), f"AdamW's, for a batch of {batch}")


def choose_pos_iou_thr(fingerprint: Fingerprint) -> Decision:
    """Choose the IoU from which an anchor is positive."""
    return Decision('pos_iou_thr', 0.5, 'the paper has 0.7, which few anchors of one map reach')


def choose_workers(image_seconds: float, step_seconds: float, batch: int, cores: int) -> Decision:
    """Choose the number of data workers: as many as load a batch while the network takes a step.

    Args:
        image_seconds (float): Time of the pipeline for an image.
        step_seconds (float): Time of a training step.
        batch (int): Images of a step.
        cores (int): Processor cores, at most one worker for each.
    """
    needed = math.ceil(1.25 * image_seconds * batch / step_seconds)
    return Decision(
        'workers',
        int(np.clip(needed, 1, max(cores, 1))),
        f'the pipeline takes {image_seconds * 1e3:.0f} ms an image, a step {step_seconds * 1e3:.0f} ms; {cores} cores',
    )


def choose_iterations(num_train: int, minutes: float, timing: Timing, batch: int) -> List[Decision]:
    """Choose the number of steps that fills the time, with a few validations in it.

    Args:
        num_train (int): Training images.
        minutes (float): The time.
        timing (Timing): What was measured.
        batch (int): Images of a step.

    Returns:
        list[Decision]: Iterations, interval of validations, and iterations of warm-up.

    Raises:
        PlanningError: If the time is too short for an epoch.
    """
    seconds = minutes * 60 * (1 - RESERVE) - timing.start
    validations = int(np.clip(VAL_SHARE * seconds / timing.val, 1, MAX_VALIDATIONS))
    steps = int((seconds - validations * timing.val) / timing.step)
    epoch = num_train / batch
    if steps < epoch:
        least = (epoch * timing.step + timing.val + timing.start) / 60 / (1 - RESERVE)
        raise PlanningError(
            f'{minutes:g} minutes are too short for one epoch of {num_train} images, which takes {least:.1f} minutes '
            f'({timing.step:.2f} s a step of {batch} images); give at least --minutes {math.ceil(least)}'
        )
    interval = math.ceil(steps / validations)
    return [
        Decision(
            'iterations',
            steps,
            f'{steps / epoch:.1f} epochs in {minutes:g} minutes: {timing.step:.3f} s a step, {timing.start:.0f} s to '
            f'start, {timing.val:.0f} s a validation',
        ),
        Decision('validations', interval, f'{validations} validations take {validations * timing.val:.0f} s'),
        Decision('warmup', max(min(steps // 10, 500), 1), 'a tenth of the steps, at most 500'),
    ]


def apply_rules(fingerprint: Fingerprint, backbone: Optional[str] = None) -> List[Decision]:
    """Apply the rules that need no measurement; what needs one gets a first value.

    Args:
        fingerprint (Fingerprint): Of the data set.
        backbone (str, optional): The user's choice. Defaults to None.

    Returns:
        list[Decision]: The decisions.
    """
    batch = choose_batch(fingerprint)
    chosen = choose_input(fingerprint)
    first = 'before measuring'
    return [
        chosen,
        Decision('anchors', [(64, 64)], first),
        choose_pos_iou_thr(fingerprint),
        choose_proposals(fingerprint),
        choose_detections(fingerprint),
        choose_nms(fingerprint),
        choose_class_weight(fingerprint),
        choose_flips(fingerprint),
        choose_colour(fingerprint),
        choose_backbone(fingerprint, backbone),
        batch,
        Decision('workers', 1, first),
        choose_lr(batch.value),
        Decision('iterations', 1000, first),
        Decision('validations', 1000, first),
        Decision('warmup', 100, first),
    ]
