import pytest
import torch
from mmdet.models.task_modules import BboxOverlaps2D
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import HorizontalBoxes

from mmthunder.models import ChunkedBboxOverlaps2D


def random_boxes(count: int, seed: int) -> torch.Tensor:
    """Boxes of whole and of fractional pixels, some of them without area."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 300
    boxes = torch.cat([corners, corners + torch.rand(count, 2, generator=generator) * 100], 1)
    boxes[::2] = boxes[::2].round()
    boxes[::7, 2] = boxes[::7, 0]
    return boxes


@pytest.mark.parametrize('options', [{}, dict(mode='iof'), dict(mode='giou')])
@pytest.mark.parametrize('kind', [torch.Tensor.clone, HorizontalBoxes])
@pytest.mark.parametrize(('rows', 'columns'), [(0, 5), (5, 0), (1, 1), (16, 40), (17, 40), (100, 1000)])
def test_is_mmdets(rows, columns, kind, options):
    """Bit for bit, so that assigners choose the same boxes among equal ones."""
    boxes1, boxes2 = random_boxes(rows, 0), random_boxes(columns, 1)
    boxes2[:rows:3] = boxes1[:columns:3]
    calculator = TASK_UTILS.build(dict(type='ChunkedBboxOverlaps2D'))
    assert isinstance(calculator, ChunkedBboxOverlaps2D)
    overlaps = calculator(kind(boxes1), kind(boxes2), **options)
    assert torch.equal(overlaps, BboxOverlaps2D()(boxes1, boxes2, **options))


def test_other_boxes():
    """Pairs, boxes with scores, double precision and half precision are mmdet's."""
    boxes1, boxes2 = random_boxes(20, 0), random_boxes(20, 1)
    scored = torch.cat([boxes1, torch.rand(20, 1)], 1)
    ours, mmdets = ChunkedBboxOverlaps2D(), BboxOverlaps2D()
    assert torch.equal(ours(boxes1, boxes2, is_aligned=True), mmdets(boxes1, boxes2, is_aligned=True))
    assert torch.equal(ours(scored, boxes2), mmdets(scored, boxes2))
    assert torch.equal(ours(boxes1.double(), boxes2.double()), mmdets(boxes1.double(), boxes2.double()))
    half = dict(scale=0.1, dtype='fp16')
    expected = BboxOverlaps2D(**half)(boxes1, boxes2)  # NaN without area
    torch.testing.assert_close(ChunkedBboxOverlaps2D(**half)(boxes1, boxes2), expected, rtol=0, atol=0, equal_nan=True)


def test_config(load, repo):
    """Both assigners of the models use it."""
    train_cfg = load(repo / 'configs/thundernet/snet49_shapes.py').model.train_cfg
    for stage in (train_cfg.rpn, train_cfg.rcnn):
        assert type(TASK_UTILS.build(stage.assigner).iou_calculator) is ChunkedBboxOverlaps2D
