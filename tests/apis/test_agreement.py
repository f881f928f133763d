import numpy as np

from mmthunder.apis import Agreement
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
