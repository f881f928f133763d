"""Divides images into a training and a validation split, the same every time."""

from typing import List, Sequence

import numpy as np

from .annotated_images import AnnotatedImage

DRAWS = 200
RATIO = 0.2  # share of the images, and of each class's boxes, to validate on


def choose_val(images: Sequence[AnnotatedImage], groups: np.ndarray, num_classes: int) -> List[int]:
    """Choose the images to validate on.

    Of some random draws that one is taken in which the share of images and each class's share of boxes are nearest to
    :data:`RATIO`. Groups of near-copies stay on one side, and each class has boxes in training. The order of the images
    does not matter.

    Args:
        images (Sequence[AnnotatedImage]): The images.
        groups (np.ndarray): What :func:`group_near_copies` returns for them, (N,).
        num_classes (int): Number of classes.

    Returns:
        list[int]: Indices of the chosen images, ascending; none if each group is needed in training.
    """
    # What is drawn is numbered in the order of file names.
    by_name = np.array(sorted(range(len(images)), key=lambda index: images[index].path), int)
    _, first, group = np.unique(groups[by_name], return_index=True, return_inverse=True)
    group = np.argsort(np.argsort(first))[group.ravel()]
    counts = np.zeros((len(first), num_classes + 1))  # boxes of each class, and images
    for number, index in zip(group, by_name):
        boxes = images[index].labels[~images[index].ignored]
        counts[number] += np.append(np.bincount(boxes, minlength=num_classes), 1)
    total = counts.sum(0)
    drawable = np.flatnonzero(~((counts == total) & (total > 0)).any(1))
    rng = np.random.default_rng(0)
    best: np.ndarray = drawable[:0]
    best_error = np.inf
    for _ in range(DRAWS if len(drawable) else 0):
        order = rng.permutation(drawable)
        sizes = counts[order, -1].cumsum()
        draw = order[: max(np.searchsorted(sizes, RATIO * len(images) + 0.5), 1)]
        while True:
            taken = counts[draw].sum(0)
            used_up = np.flatnonzero((taken == total) & (total > 0))
            if not len(used_up):
                break
            draw = np.delete(draw, counts[draw, used_up[0]].argmax())  # to have the class in training
        error = np.abs(taken[total > 0] / total[total > 0] - RATIO).mean()
        if error < best_error:
            best, best_error = draw, error
    return sorted(by_name[np.isin(group, best)].tolist())
