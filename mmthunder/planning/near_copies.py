"""Groups near-copies of images: saved anew, resized, slightly changed, neighbouring frames of a video."""

from typing import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

# Of 256 bits. Different photographs differ by 128 +- 8; the most alike of 500 circuit boards by 46.
MAX_DISTANCE = 32
ROWS = 512  # compared with all others at a time


def group_near_copies(hashes: Sequence[np.ndarray], max_distance: int = MAX_DISTANCE) -> np.ndarray:
    """Group images by their perceptual hashes.

    Args:
        hashes (Sequence[np.ndarray]): Bits of each image's hash, bool, (256,).
        max_distance (int): Most bits by which near-copies differ. Defaults to 32.

    Returns:
        np.ndarray: The group of each image, numbered from 0, (N,). An image without a near-copy is a group of its own.
    """
    if not len(hashes):
        return np.zeros(0, int)
    # The dot product of signs is the number of equal bits less the number of different ones.
    signs = np.where(np.stack(hashes), 1, -1).astype(np.float32)
    bits = signs.shape[1]
    rows, columns = [], []
    for start in range(0, len(signs), ROWS):
        distance = (bits - signs[start : start + ROWS] @ signs.T) / 2
        row, column = np.nonzero(distance <= max_distance)
        rows.append(row + start)
        columns.append(column)
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(row), bool), (row, column)), shape=(len(signs), len(signs)))
    return connected_components(graph, directed=False)[1]
