import numpy as np
import pytest

from mmthunder.apis import Agreement, Outcomes
from mmthunder.runtime import Detections


def detections(*rows: tuple) -> Detections:
    """Rows of x1, y1, x2, y2, score, label."""
    array = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(array[:, :4], array[:, 4], array[:, 5].astype(np.int64))


def test_equal_in_another_order():
    agreement = Agreement()
    first = detections((0, 0, 10, 10, 0.9, 1), (5, 5, 20, 20, 0.8999, 1))
    agreement.add(first, Detections(*(values[::-1] for values in first)))
    assert (agreement.images, agreement.detections, agreement.unmatched) == (1, 4, 0)
    assert agreement.box_error == agreement.score_error == 0


def test_tolerances():
    agreement = Agreement()
    agreement.add(detections((0, 0, 10, 10, 0.9, 1)), detections((0.4, 0, 10, 10, 0.9005, 1)))
    assert agreement.unmatched == 0
    np.testing.assert_allclose((agreement.box_error, agreement.score_error), (0.4, 0.0005), rtol=1e-3)
    for wrong in ((0.6, 0, 10, 10, 0.9, 1), (0, 0, 10, 10, 0.902, 1), (0, 0, 10, 10, 0.9, 2)):
        agreement = Agreement()
        agreement.add(detections((0, 0, 10, 10, 0.9, 1)), detections(wrong))
        assert (agreement.detections, agreement.unmatched) == (2, 2)


def test_one_side_only():
    agreement = Agreement()
    agreement.add(detections((0, 0, 10, 10, 0.9, 1), (0, 0, 10, 10, 0.04, 1)), detections())
    agreement.add(detections(), detections((0, 0, 10, 10, 0.9, 1)))
    agreement.add(detections(), detections())
    assert (agreement.images, agreement.detections, agreement.unmatched) == (3, 2, 2)
    assert '2 without a partner' in str(agreement)


A, B, C = (0, 0, 10, 10, 0.9, 1), (2, 0, 12, 10, 0.9, 1), (50, 0, 60, 10, 0.8, 1)


def tied() -> Outcomes:
    """A and B overlap by an IoU of 0.67 and have one score: NMS keeps one of them. C is certain."""
    boxes, scores, labels = detections(A, B, C)
    certain, suppressible = np.array([False, False, True]), np.array([True, True, True])
    return Outcomes(boxes, scores, labels, certain, suppressible, 0.5)


def test_ties():
    agreement = Agreement()
    agreement.add(detections(A, C), detections(C, B), tied)
    assert (agreement.detections, agreement.unmatched, agreement.tied) == (4, 0, 2)
    assert '2 that are tied' in str(agreement)


@pytest.mark.parametrize(
    ('found', 'unmatched', 'n_tied'),
    [
        ([A], 1, 0),  # C is missing
        ([C], 1, 0),  # neither of the tied ones
        ([A, B, C], 1, 0),  # both of them
        ([(2, 0, 12, 10, 0.9, 2), C], 2, 0),  # another class
        ([(3, 0, 13, 10, 0.9, 1), C], 1, 1),  # a box that nothing gives
        ([(2, 0, 12, 10, 0.85, 1), C], 2, 0),  # and a score
        ([B, (53, 0, 63, 10, 0.8, 1)], 2, 2),  # a tie does not excuse what is elsewhere
    ],
)
def test_ties_excuse_nothing_else(found, unmatched, n_tied):
    agreement = Agreement()
    agreement.add(detections(A, C), detections(*found), tied)
    assert (agreement.unmatched, agreement.tied) == (unmatched, n_tied)


def test_outcomes_only_where_needed():
    """They take time."""
    agreement = Agreement()
    agreement.add(detections(A, C), detections(C, A), lambda: pytest.fail('not needed'))
    agreement.add(detections(A, C), detections(C), lambda: None)
    assert (agreement.unmatched, agreement.tied) == (1, 0)
