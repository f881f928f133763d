import json
import shutil

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


@pytest.mark.parametrize('coder', ['AnyBoxCoder', 'DeltaXYWHBBoxCoder'])
def test_training(tiny_cfg, build_runner, shapes, tmp_path, coder):
    """An object that is cut off by the border of its image has no width; with mmdet's coder the weights become NaN."""
    shutil.copytree(shapes, tmp_path / 'data')
    path = tmp_path / 'data/annotations/train.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['bbox'] = [95.999999, 10, 20, 20]  # mmdet drops boxes that are outside, not this one
    path.write_text(json.dumps(content))
    tiny_cfg.train_dataloader.dataset.data_root = f'{tmp_path}/data/'
    tiny_cfg.train_dataloader.num_workers = 0
    tiny_cfg.train_cfg.update(max_epochs=1, val_interval=100)
    tiny_cfg.model.roi_head.bbox_head.bbox_coder.type = coder
    runner = build_runner(tiny_cfg)
    if coder == 'AnyBoxCoder':
        runner.train()
    else:
        with pytest.raises(FloatingPointError, match='loss_bbox'):
            runner.train()


COORDINATES = st.floats(-1e5, 1e5, width=32)
BOXES = st.lists(st.lists(COORDINATES, min_size=8, max_size=8), max_size=5)


@given(boxes=BOXES)
def test_is_finite(boxes):
    boxes = torch.tensor(boxes).reshape(-1, 8)
    assert AnyBoxCoder(**STDS).encode(boxes[:, :4], boxes[:, 4:]).isfinite().all()
