import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.models.task_modules import DeltaXYWHBBoxCoder
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import HorizontalBoxes

from mmthunder.models import AnyBoxCoder

STDS = dict(target_stds=[0.1, 0.1, 0.2, 0.2])


@pytest.mark.parametrize('kind', [torch.Tensor, HorizontalBoxes])
def test_is_mmdets(kind):
    """For boxes with area, and decoding returns to them."""
    boxes = torch.tensor([[0.0, 0.0, 10.0, 20.0], [5.0, 6.0, 7.5, 100.0]])
    targets = torch.tensor([[1.0, 2.0, 30.0, 20.0], [5.0, 0.0, 9.0, 60.0]])
    coder = TASK_UTILS.build(dict(type='AnyBoxCoder', **STDS))
    assert isinstance(coder, AnyBoxCoder)
    wrap = HorizontalBoxes if kind is HorizontalBoxes else torch.Tensor.clone
    deltas = coder.encode(wrap(boxes), wrap(targets))
    assert torch.equal(deltas, DeltaXYWHBBoxCoder(**STDS).encode(boxes, targets))
    torch.testing.assert_close(coder.decode(boxes, deltas), targets)


def test_boxes_without_area():
    boxes = torch.tensor([[5.0, 6.0, 5.0, 6.0], [5.0, 6.0, 5.0, 30.0], [5.0, 6.0, 30.0, 6.0]])
    assert AnyBoxCoder().encode(boxes, boxes).tolist() == [[0.0] * 4] * 3
    assert DeltaXYWHBBoxCoder().encode(boxes, boxes).isnan().any(1).all()


COORDINATES = st.floats(-1e5, 1e5, width=32)
BOXES = st.lists(st.lists(COORDINATES, min_size=8, max_size=8), max_size=5)


@given(boxes=BOXES)
def test_is_finite(boxes):
    boxes = torch.tensor(boxes).reshape(-1, 8)
    assert AnyBoxCoder(**STDS).encode(boxes[:, :4], boxes[:, 4:]).isfinite().all()
