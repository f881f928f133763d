"""Comparison of the detections of two runtimes."""

from dataclasses import dataclass
from typing import Callable, Optional, Tuple

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps

from mmthunder.runtime import Detections

from .outcomes import IOU_TOLERANCE, SCORE_TOLERANCE, Outcomes


@dataclass
class Agreement:
    """Compares detections image by image.

    A detection of one side that scores at least ``min_score`` must have a partner of the same class on
    the other side, with every box coordinate within ``box_tolerance`` and the score within
    ``score_tolerance``. A detection without a partner is *tied* if boxes of equal scores overlap, so that NMS may keep
    either, and *unmatched* otherwise.

    Args:
        min_score (float): Detections below this need no partner. Defaults to 0.05.
        box_tolerance (float): In pixels. Defaults to 0.5.
        score_tolerance (float): Defaults to 1e-3.

    Attributes:
        images (int): Images compared.
        detections (int): Detections that need a partner, of both sides.
        unmatched (int): Detections without a partner.
        tied (int): Detections without a partner because of equal scores.
        box_error (float): Largest difference of a coordinate between partners, in pixels.
        score_error (float): Largest difference of scores between partners.
    """

    min_score: float = 0.05
    box_tolerance: float = 0.5
    score_tolerance: float = 1e-3
    images: int = 0
    detections: int = 0
    unmatched: int = 0
    tied: int = 0
    box_error: float = 0.0
    score_error: float = 0.0

    def add(
        self,
        first: Detections,
        second: Detections,
        outcomes: Callable[[], Optional[Outcomes]] = lambda: None,
    ) -> None:
        """Compare the detections of one image.

        Args:
            first (Detections): Detections of the reference.
            second (Detections): Detections of the other side.
            outcomes (Callable, optional): Returns all detections that are possible for the reference
                (:func:`~mmthunder.apis.find_outcomes`); called only if a detection has no partner. By default no
                detection is tied.
        """
        self.images += 1
        partners, box_errors, score_errors = self._find_partners(first, second)
        missing = []
        for side, pairs in ((first, partners), (second, partners.T)):
            needed = side.scores >= self.min_score
            self.detections += int(needed.sum())
            missing.append(needed & ~pairs.any(1))
        if any(lonely.any() for lonely in missing):
            possible = outcomes()
            if possible is not None:
                tied = self._find_tied(first, second, missing, possible)
                self.tied += sum(int(excused.sum()) for excused in tied)
                missing = [lonely & ~excused for lonely, excused in zip(missing, tied)]
        self.unmatched += sum(int(lonely.sum()) for lonely in missing)
        # The errors are those of the nearest partners.
        nearest = np.where(partners, box_errors, np.inf)
        for row in np.flatnonzero((first.scores >= self.min_score) & partners.any(1)):
            column = nearest[row].argmin()
            self.box_error = max(self.box_error, float(box_errors[row, column]))
            self.score_error = max(self.score_error, float(score_errors[row, column]))

    def _find_partners(self, first: Detections, second: Detections) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute which detections are partners, and the differences of boxes and scores, each (N, M)."""
        box_errors = np.abs(first.boxes[:, None] - second.boxes[None]).max(-1, initial=0.0)
        score_errors = np.abs(first.scores[:, None] - second.scores[None])
        partners = (box_errors <= self.box_tolerance) & (score_errors <= self.score_tolerance)
        return partners & (first.labels[:, None] == second.labels[None]), box_errors, score_errors

    def _find_tied(
        self, first: Detections, second: Detections, missing: Tuple[np.ndarray, np.ndarray], outcomes: Outcomes
    ) -> Tuple[np.ndarray, np.ndarray]:
        """Find the detections of both sides that have no partner because of equal scores.

        A detection of the reference has to be one that is suppressed for some order of equal scores, by a box that the
        other side keeps. A detection of the other side has to be one that is kept for some order, and no kept box may
        suppress it.
        """
        possible = Detections(outcomes.boxes, outcomes.scores, outcomes.labels)
        overlap = np.where(
            second.labels[:, None] == second.labels, bbox_overlaps(second.boxes, second.boxes), 0
        ) - 2 * np.eye(len(second.boxes))
        kept = self._find_partners(second, possible)[0].any(1)
        kept &= (overlap <= outcomes.iou_threshold + IOU_TOLERANCE).all(1)

        covers = (first.labels[:, None] == second.labels) & (
            bbox_overlaps(first.boxes, second.boxes) > outcomes.iou_threshold - IOU_TOLERANCE
        )
        covers &= second.scores >= (first.scores * (1 - SCORE_TOLERANCE))[:, None] - self.score_tolerance
        may_miss = np.where(covers.any(1)[:, None], ~outcomes.certain, ~outcomes.certain & ~outcomes.suppressible)
        dropped = (self._find_partners(first, possible)[0] & may_miss).any(1)
        return missing[0] & dropped, missing[1] & kept

    def __str__(self) -> str:
        ties = f' and {self.tied} that are tied with boxes of equal scores' if self.tied else ''
        return (
            f'{self.images} images, {self.detections} detections of score >= {self.min_score} on both sides, '
            f'{self.unmatched} without a partner within {self.box_tolerance} px and a score of '
            f'{self.score_tolerance:g}{ties}; largest differences {self.box_error:.4f} px and {self.score_error:.2g}'
        )
