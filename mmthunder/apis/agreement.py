"""Whether two runtimes find the same objects."""

from dataclasses import dataclass

import numpy as np

from mmthunder.runtime import Detections


@dataclass
class Agreement:
    """Compares detections image by image.

    A detection of one side that scores at least ``min_score`` must have a partner of the same class on
    the other side, with every box coordinate within ``box_tolerance`` and the score within
    ``score_tolerance``.

    Args:
        min_score (float): Detections below this need no partner. Defaults to 0.05.
        box_tolerance (float): In pixels. Defaults to 0.5.
        score_tolerance (float): Defaults to 1e-3.

    Attributes:
        images (int): Images compared.
        detections (int): Detections that need a partner, of both sides.
        unmatched (int): Those without one.
        box_error (float): Largest difference of a coordinate between partners, in pixels.
        score_error (float): Largest difference of scores between partners.
    """

    min_score: float = 0.05
    box_tolerance: float = 0.5
    score_tolerance: float = 1e-3
    images: int = 0
    detections: int = 0
    unmatched: int = 0
    box_error: float = 0.0
    score_error: float = 0.0

    def add(self, first: Detections, second: Detections) -> None:
        """Compare what both sides found in one image."""
        self.images += 1
        box_errors = np.abs(first.boxes[:, None] - second.boxes[None]).max(-1, initial=0.0)
        score_errors = np.abs(first.scores[:, None] - second.scores[None])
        partners = (box_errors <= self.box_tolerance) & (score_errors <= self.score_tolerance)
        partners &= first.labels[:, None] == second.labels[None]
        for side, pairs in ((first, partners), (second, partners.T)):
            needed = side.scores >= self.min_score
            self.detections += int(needed.sum())
            self.unmatched += int((needed & ~pairs.any(1)).sum())
        # The errors are those of the nearest partners.
        nearest = np.where(partners, box_errors, np.inf)
        for row in np.flatnonzero((first.scores >= self.min_score) & partners.any(1)):
            column = nearest[row].argmin()
            self.box_error = max(self.box_error, float(box_errors[row, column]))
            self.score_error = max(self.score_error, float(score_errors[row, column]))

    def __str__(self) -> str:
        return (
            f'{self.images} images, {self.detections} detections of score >= {self.min_score} on both sides, '
            f'{self.unmatched} without a partner within {self.box_tolerance} px and a score of '
            f'{self.score_tolerance:g}; largest differences {self.box_error:.4f} px and {self.score_error:.2g}'
        )
