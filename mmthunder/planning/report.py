"""Prints a plan: what was noticed, the data's numbers and the decisions."""

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .plan import Plan


def percentiles(values: np.ndarray) -> str:
    """Return the 5th, 50th and 95th percentiles as whole numbers, or '-' of nothing."""
    return ' / '.join(f'{value:.0f}' for value in np.percentile(values, [5, 50, 95])) if len(values) else '-'


def data_table(plan: Plan) -> Table:
    """Return a table with a row for each class and one for all."""
    fingerprint = plan.fingerprint
    width, height = plan.value('input_size')
    boxes = fingerprint.relative_boxes
    sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1) * width * height)
    pixels = np.sqrt((fingerprint.boxes[:, 2:] - fingerprint.boxes[:, :2]).prod(1))
    table = Table(title='classes; sizes are the square root of the area in px: 5 / 50 / 95 %', title_justify='left')
    table.add_column('class', overflow='fold')
    for name in ('training boxes', 'training images', 'validation boxes', 'size in the file', 'size in the input'):
        table.add_column(name, justify='right')
    for label, name in enumerate([*fingerprint.classes, 'all']):
        chosen = fingerprint.box_labels == label if label < len(fingerprint.classes) else np.ones(len(boxes), bool)
        counts = fingerprint.val_class_counts
        table.add_row(
            escape(name),
            str(chosen.sum()),
            str(len(np.unique(fingerprint.box_image[chosen]))),
            str(counts[label] if label < len(counts) else sum(counts)),
            percentiles(pixels[chosen]),
            percentiles(sides[chosen]),
            end_section=label == len(counts) - 1,
        )
    return table


def decision_table(plan: Plan) -> Table:
    """Return a table of the decisions."""
    table = Table(title=f'plan for {plan.minutes:g} minutes', title_justify='left')
    table.add_column('decision')
    table.add_column('value', overflow='fold', max_width=48)
    table.add_column('reason', overflow='fold')
    for decision in plan.decisions.values():
        value = decision.value
        if isinstance(value, dict):
            value = ', '.join(f'{key}={each}' for key, each in value.items())
        table.add_row(decision.name, escape(str(value)), escape(decision.reason))
    return table


def print_plan(plan: Plan, console: Console) -> None:
    """Print a plan.

    Args:
        plan (Plan): The plan.
        console (Console): Where to.
    """
    fingerprint = plan.fingerprint
    for note in plan.notes:
        console.print(f'note: {note}', highlight=False, soft_wrap=True, markup=False)
    sizes = fingerprint.image_sizes
    empty = int((fingerprint.boxes_per_image == 0).sum())
    console.print(
        f'{plan.layout.root}: {fingerprint.num_train} images to train and {fingerprint.num_val} to validate; '
        f'width {percentiles(sizes[:, 0])}, height {percentiles(sizes[:, 1])} px, boxes per image '
        f'{percentiles(fingerprint.boxes_per_image)} (5 / 50 / 95 %), at most {fingerprint.boxes_per_image.max()}; '
        f'{empty} training images without boxes',
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    console.print(data_table(plan))
    console.print(decision_table(plan))
