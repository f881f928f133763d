"""The rules: each decides one thing from the fingerprint or a measurement, and gives its reason.

A rule is a function of numbers alone, so that it can be read, tested and changed by itself. Decisions are named after
the variables of the config.
"""

import math
from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

import numpy as np

from .anchors import best_ious, fit_anchors
from .fingerprint import Fingerprint
from .planning_error import PlanningError
from .timing import Timing

SIDES = (320, 416, 512, 640)  # of a square of as many pixels as the input
# A training step at stride 8 takes about 1.5 times as long as at stride 16.
STRIDE_COST = {16: 1.0, 8: 1.5}
# Share of boxes that an anchor should match at IoU 0.5, in the mean of the classes. Less suffices at stride 8: only a
# larger input would give more, and fewer steps.
MATCHED = {16: 0.9, 8: 0.85}
GAIN = 0.02  # by which a costlier input must raise it, if none reaches that share
SAMPLE = 4000  # boxes that it is estimated on
BACKBONE = 'snet49_distilled'
LR = 4e-3  # of AdamW for 4 images, with a pretrained backbone
LR_OF_RANDOM_WEIGHTS = 8e-3
FEW_IMAGES = 300  # which a training sees so often that they should not look the same each time
RESERVE = 0.04  # share of the time for what was not measured
VAL_SHARE, MAX_VALIDATIONS = 0.1, 5


@dataclass(frozen=True)
class Decision:
    """A decision of the plan.

    Attributes:
        name (str): The variable of the config.
        value (object): The decision.
        reason (str): Why, with the number behind it.
    """

    name: str
    value: Any
    reason: str


def input_size(image_sizes: np.ndarray, side: int) -> Tuple[int, int]:
    """Return an input size in the aspect ratio of the images, or a square if their aspect ratios differ.

    Args:
        image_sizes (np.ndarray): Widths and heights, (M, 2).
        side (int): The size has about ``side * side`` pixels.

    Returns:
        tuple[int, int]: Width and height in pixels, multiples of 32.
    """
    low, middle, high = np.percentile(image_sizes[:, 0] / image_sizes[:, 1], [10, 50, 90])
    if high / low > 1.25:
        return side, side
    aspect = float(np.clip(middle, 0.25, 4))
    width, height = (max(round(side * factor / 32), 2) * 32 for factor in (aspect**0.5, aspect**-0.5))
    return width, height


def unmatched_share(fingerprint: Fingerprint, size: Tuple[int, int], stride: int) -> float:
    """Estimate the share of boxes that no anchor matches at IoU 0.5, with 25 anchors fitted to them.

    Args:
        fingerprint (Fingerprint): Of the data.
        size (tuple[int, int]): Width and height in pixels to which images are stretched.
        stride (int): Of the map that has the anchors.

    Returns:
        float: The mean of the classes' shares.
    """
    step = max(len(fingerprint.boxes) // SAMPLE, 1)
    boxes = fingerprint.relative_boxes[::step] * np.tile(size, 2)
    unmatched = best_ious(boxes, fit_anchors(boxes, 25, stride), stride) < 0.5
    labels = fingerprint.box_labels[::step]
    return float(np.mean([unmatched[labels == label].mean() for label in np.unique(labels)]))


def choose_input(
    fingerprint: Fingerprint, size: Optional[Tuple[int, int]] = None, stride: Optional[int] = None
) -> List[Decision]:
    """Choose input size and stride: the cheapest with which anchors can match most boxes of all classes.

    Small objects thus get a finer stride, which costs half of what an input of twice the size does, or both.

    Args:
        fingerprint (Fingerprint): Of the data.
        size (tuple[int, int], optional): The size, if it is given. Defaults to None.
        stride (int, optional): The stride, if it is given. Defaults to None.

    Returns:
        list[Decision]: Input size and stride.
    """
    sizes = [size] if size else [input_size(fingerprint.image_sizes, side) for side in SIDES]
    options = [(each, step) for each in sizes for step in ([stride] if stride else STRIDE_COST)]
    options.sort(key=lambda option: option[0][0] * option[0][1] * STRIDE_COST.get(option[1], 1))
    chosen, least = options[0], math.inf
    for option in options:
        unmatched = unmatched_share(fingerprint, *option)
        if unmatched < least - GAIN:
            chosen, least = option, unmatched
        if least <= 1 - MATCHED.get(chosen[1], MATCHED[16]):
            break
    boxes = fingerprint.relative_boxes * np.tile(chosen[0], 2)
    low, middle, high = np.percentile(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1)), [5, 50, 95])
    return [
        Decision('input_size', chosen[0], f'boxes are {low:.0f}, {middle:.0f} and {high:.0f} px (5, 50, 95 %) in it'),
        Decision('stride', chosen[1], f'anchors can match {1 - least:.0%} of the boxes, in the mean of the classes'),
    ]


def choose_flips(fingerprint: Fingerprint) -> Decision:
    """Choose the directions in which images are flipped: none where it would change a class."""
    if fingerprint.mirror_sensitive:
        names = ', '.join(map(repr, fingerprint.mirror_sensitive[:3]))
        return Decision('flips', [], f'a mirror image would change the class {names}')
    if fingerprint.orientation_free:
        return Decision('flips', ['horizontal', 'vertical', 'diagonal'], 'the objects have no upright orientation')
    return Decision('flips', ['horizontal'], 'the objects have an upright orientation')


def choose_scaling(fingerprint: Fingerprint) -> Decision:
    """Choose the factors by which mmdet's ``RandomAffine`` scales images, with shifts of up to a tenth, or none."""
    number = fingerprint.num_train
    if number > FEW_IMAGES:
        return Decision('scaling', None, f'{number} images, more than {FEW_IMAGES}, are each seen less often')
    return Decision('scaling', (0.7, 1.4), f'{number} images are seen often')


def choose_distortion(fingerprint: Fingerprint) -> Decision:
    """Choose the arguments of mmdet's ``PhotoMetricDistortion``, or none.

    Whatever its arguments, it swaps the color channels of every second image, which costs a short training more than
    it brings. In images without color it changes brightness and contrast alone.
    """
    if fingerprint.grey > 0.9:
        grey = dict(brightness_delta=32, contrast_range=(0.7, 1.3), saturation_range=(1, 1), hue_delta=0)
        return Decision('distortion', grey, f'{fingerprint.grey:.0%} of the images are grey')
    return Decision('distortion', None, f'{1 - fingerprint.grey:.0%} of the images have colors, which it would swap')


def choose_nms_pre(fingerprint: Fingerprint) -> Decision:
    """Choose the number of anchors that compete to be proposals: more where images are crowded."""
    most = int(np.percentile(fingerprint.boxes_per_image, 99))
    return Decision('nms_pre', 1000 if most <= 50 else 2000, f'99 % of the images have at most {most} boxes')


def choose_proposals(fingerprint: Fingerprint) -> Decision:
    """Choose the number of proposals of an image: several for each object."""
    most = int(np.percentile(fingerprint.boxes_per_image, 99))
    return Decision('proposals', 500 if most <= 150 else 1000, f'99 % of the images have at most {most} boxes')


def choose_max_per_img(fingerprint: Fingerprint) -> Decision:
    """Choose the largest number of detections of an image, of which mmdet's AP counts 1000."""
    most = int(fingerprint.boxes_per_image.max())
    value = 100 if most <= 50 else 300 if most <= 150 else 1000
    return Decision('max_per_img', value, f'an image has at most {most} boxes')


def choose_class_weight(fingerprint: Fingerprint) -> Decision:
    """Choose the weights of the classes in the classification loss: up to 3 for rare ones, and 1 for the background."""
    counts = np.maximum(fingerprint.class_counts, 1)
    share = counts / counts.sum()
    weights = np.clip(np.sqrt(0.5 / len(counts) / share), 1, 3).round(1)
    rarest = fingerprint.classes[int(counts.argmin())]
    reason = f'{rarest!r}, the rarest class, has {share.min():.1%} of the boxes'
    return Decision('class_weight', None if weights.max() < 1.5 else [*weights.tolist(), 1.0], reason)


def choose_batch_size(fingerprint: Fingerprint) -> Decision:
    """Choose the batch size: small, since the number of steps counts in a short training."""
    steps = fingerprint.num_train / 4
    return Decision('batch_size', 4, f'{steps:.0f} steps an epoch of {fingerprint.num_train} images')


def choose_backbone(fingerprint: Fingerprint) -> Decision:
    """Choose the backbone: the fastest, with the weights of this package."""
    reason = 'pretrained (terms: weights/README.md), +0.07 AP in 5 minutes, mean of 4 data sets; larger ones need hours'
    return Decision('backbone', BACKBONE, reason)


def choose_lr(batch_size: int, pretrained: bool) -> Decision:
    """Choose AdamW's peak learning rate, proportional to the square root of the batch size.

    Args:
        batch_size (int): Images of a step.
        pretrained (bool): Whether the backbone starts from pretrained weights.

    Returns:
        Decision: Lower with a pretrained backbone.
    """
    lr = LR if pretrained else LR_OF_RANDOM_WEIGHTS
    weights = 'pretrained' if pretrained else 'random'
    return Decision('lr', round(lr * math.sqrt(batch_size / 4), 5), f'{lr} for a batch of 4 and {weights} weights')


def choose_num_workers(image_seconds: float, step_seconds: float, batch_size: int, cores: int) -> Decision:
    """Choose the number of data workers: as many as prepare a batch while the network takes a step.

    Args:
        image_seconds (float): Time of the pipeline for an image.
        step_seconds (float): Time of a training step.
        batch_size (int): Images of a step.
        cores (int): Processor cores; there is at most one worker for each.

    Returns:
        Decision: At least 1.
    """
    needed = math.ceil(1.25 * image_seconds * batch_size / step_seconds)
    reason = f'the pipeline takes {image_seconds * 1e3:.0f} ms an image, a step {step_seconds * 1e3:.0f} ms'
    return Decision('num_workers', int(np.clip(needed, 1, max(cores, 1))), f'{reason}; {cores} cores')


def choose_iterations(
    num_train: int, minutes: float, timing: Timing, batch_size: int, max_iters: Optional[int] = None
) -> List[Decision]:
    """Choose the number of steps that fills the time, with a few validations in it.

    Args:
        num_train (int): Training images.
        minutes (float): The time.
        timing (Timing): What was measured.
        batch_size (int): Images of a step.
        max_iters (int, optional): The number of steps, if it is given. Defaults to None.

    Returns:
        list[Decision]: Iterations, interval of validations, and iterations of warm-up.

    Raises:
        PlanningError: If the time is too short for an epoch.
    """
    seconds = minutes * 60 * (1 - RESERVE) - timing.start
    validations = int(np.clip(VAL_SHARE * seconds / timing.val, 1, MAX_VALIDATIONS))
    fill = int((seconds - validations * timing.val) / timing.step)
    steps, epoch = max_iters or fill, num_train / batch_size
    if fill < epoch and not max_iters:
        least = (epoch * timing.step + timing.val + timing.start) / 60 / (1 - RESERVE)
        raise PlanningError(
            f'{minutes:g} minutes are too short for one epoch of {num_train} images, which takes {least:.1f} minutes '
            f'({timing.step:.2f} s a step of {batch_size} images); give at least --minutes {math.ceil(least)}'
        )
    return [
        Decision(
            'max_iters',
            fill,
            f'{fill / epoch:.1f} epochs in {minutes:g} minutes: {timing.step:.3f} s a step, {timing.start:.0f} s to '
            f'start, {timing.val:.0f} s a validation',
        ),
        Decision(
            'val_interval',
            math.ceil(steps / validations),
            f'{validations} validations take {validations * timing.val:.0f} s, at most {VAL_SHARE:.0%} of the time',
        ),
        Decision('warmup', max(steps // 10, 1), 'a tenth of the steps'),
    ]


RULES = (
    choose_nms_pre,
    choose_proposals,
    choose_max_per_img,
    choose_class_weight,
    choose_flips,
    choose_scaling,
    choose_distortion,
    choose_backbone,
    choose_batch_size,
)


def apply_rules(
    fingerprint: Fingerprint, size: Optional[Tuple[int, int]] = None, stride: Optional[int] = None
) -> List[Decision]:
    """Apply the rules that need no measurement.

    Args:
        fingerprint (Fingerprint): Of the data.
        size (tuple[int, int], optional): The input size, if it is given. Defaults to None.
        stride (int, optional): The stride, if it is given. Defaults to None.

    Returns:
        list[Decision]: The decisions.
    """
    return [*choose_input(fingerprint, size, stride), *(rule(fingerprint) for rule in RULES)]
