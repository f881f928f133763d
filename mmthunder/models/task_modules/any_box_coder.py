"""Box coder that supports boxes of zero area."""

from typing import Union

import torch
from mmdet.models.task_modules import DeltaXYWHBBoxCoder
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import BaseBoxes, get_box_tensor
from torch import Tensor

# In pixels; the difference is representable in float32 in images of up to 100,000 px.
MIN_SIDE = 0.01


def _widen(boxes: Union[Tensor, BaseBoxes]) -> Tensor:
    """Enlarge sides of boxes (N, 4), as x1, y1, x2, y2, to at least :data:`MIN_SIDE`."""
    start, end = get_box_tensor(boxes).split(2, -1)
    return torch.cat((start, end.maximum(start + MIN_SIDE)), -1)


@TASK_UTILS.register_module()
class AnyBoxCoder(DeltaXYWHBBoxCoder):
    """mmdet's ``DeltaXYWHBBoxCoder`` with finite deltas for boxes of zero area.

    RoI samplers add the ground truth boxes to the proposals (``add_gt_as_proposals``). The deltas of a box
    of zero area to itself are 0 / 0, and a single one makes the loss and then all weights NaN.

    Takes the arguments of :class:`~mmdet.models.task_modules.DeltaXYWHBBoxCoder`.
    """

    def encode(self, bboxes: Union[Tensor, BaseBoxes], gt_bboxes: Union[Tensor, BaseBoxes]) -> Tensor:
        """Compute the deltas that transform boxes into ground truth boxes.

        Args:
            bboxes (Tensor or BaseBoxes): Boxes as x1, y1, x2, y2 in pixels with shape (N, 4).
            gt_bboxes (Tensor or BaseBoxes): Ground truth boxes with shape (N, 4).

        Returns:
            Tensor: Normalised dx, dy, dw, dh with shape (N, 4). Sides below 0.01 px are taken as 0.01 px.
        """
        return super().encode(_widen(bboxes), _widen(gt_bboxes))
