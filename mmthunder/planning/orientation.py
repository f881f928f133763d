"""Whether images may be flipped: what the classes' names and the pixels say about left, right and up."""

import re
from typing import Sequence, Tuple

import numpy as np

# Names of classes that a mirror image may turn into another class, or into none at all.
MIRROR_SENSITIVE = 'left|right|(anti|counter)?clockwise|text|words?|letters?|digits?|numbers?|char(acter)?s?'
# Of asymmetry(): circuit boards and blood cells have 0.03, waste on the ground 0.06 and faces 0.09. Shading counts,
# since light comes from above.
SMALL = 0.04


def mirror_sensitive_classes(classes: Sequence[str]) -> Tuple[str, ...]:
    """Return the classes whose names say that a mirror image may be of another class.

    These are names with a word such as *left* or *text*, and single letters and numbers.

    Args:
        classes (Sequence[str]): The names.

    Returns:
        tuple[str]: Those that were found.
    """

    def mirror_sensitive(name: str) -> bool:
        words = re.findall('[a-z]+|[0-9]+', re.sub('([a-z])([A-Z])', r'\1 \2', name).lower())
        return any(re.fullmatch(MIRROR_SENSITIVE, word) for word in words) or bool(
            re.fullmatch(r'[A-Za-z]|\d+', name.strip())
        )

    return tuple(name for name in classes if mirror_sensitive(name))


def asymmetry(patches: np.ndarray, axis: int) -> float:
    """Measure by how much patches differ from their mirror images in the same way.

    Args:
        patches (np.ndarray): Grey patches of objects, (N, H, W).
        axis (int): 1 mirrors up and down, 2 left and right.

    Returns:
        float: Share of the squared difference that the patches have in common: 0 if it is different for each patch, 1
        if it is the same for all; unbiased, so that it may be slightly negative.
    """
    flat = patches.reshape(len(patches), -1)
    unit = (flat - flat.mean(1, keepdims=True)) / (flat.std(1, keepdims=True) + 1)
    unit = unit.reshape(patches.shape)
    difference = (unit - np.flip(unit, axis)).reshape(len(patches), -1)
    energy = (difference**2).sum(1).mean()
    common = (difference.mean(0) ** 2).sum()
    # The mean of N independent differences has the Nth part of their energy.
    return float((common / max(energy, 1e-9) - 1 / len(patches)) * len(patches) / max(len(patches) - 1, 1))


def is_orientation_free(asymmetries: Sequence[Tuple[int, float, float]]) -> bool:
    """Return whether objects have no upright orientation, as cells, or things in aerial photographs.

    Args:
        asymmetries (Sequence[tuple[int, float, float]]): Number of patches, vertical and horizontal
            :func:`asymmetry` of each class.

    Returns:
        bool: Whether the mean vertical asymmetry, weighted by the number of patches, is small or no larger than the
        horizontal one.
    """
    weights = np.array([count for count, _, _ in asymmetries], float)
    if weights.sum() < 100:  # too few to tell
        return False
    vertical, horizontal = (np.average([row[i] for row in asymmetries], weights=weights) for i in (1, 2))
    return bool(vertical <= max(SMALL, 1.5 * horizontal))
