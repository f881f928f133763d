"""Box deltas that are finite for boxes without area too."""

from typing import Union

import torch
from mmdet.models.task_modules import DeltaXYWHBBoxCoder
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import BaseBoxes, get_box_tensor
from torch import Tensor

# In pixels; float32 still tells two coordinates apart that differ by it in images of 100,000 px.
MIN_SIDE = 0.01


def _widen(boxes: Union[Tensor, BaseBoxes]) -> Tensor:
    """Give boxes (N, 4) of x1, y1, x2, y2 sides of at least :data:`MIN_SIDE`."""
    start, end = get_box_tensor(boxes).split(2, -1)
    return torch.cat((start, end.maximum(start + MIN_SIDE)), -1)


@TASK_UTILS.register_module()
class AnyBoxCoder(DeltaXYWHBBoxCoder):
    """mmdet's coder for data sets that may have boxes without area.

    RoI samplers add the annotated boxes to the proposals (``add_gt_as_proposals``). The deltas of a box without
    area to itself are 0 / 0, and one of them makes the loss and then all weights NaN.

    Takes the arguments of :class:`~mmdet.models.task_modules.DeltaXYWHBBoxCoder`.
    """

    def encode(self, bboxes: Union[Tensor, BaseBoxes], gt_bboxes: Union[Tensor, BaseBoxes]) -> Tensor:
        """Compute the deltas from boxes to other boxes.

        Args:
            bboxes (Tensor or BaseBoxes): Boxes x1, y1, x2, y2 in pixels with shape (N, 4).
            gt_bboxes (Tensor or BaseBoxes): What they are to become, with shape (N, 4).

        Returns:
            Tensor: dx, dy, dw, dh, normalised, with shape (N, 4). Sides below 0.01 px count as 0.01 px.
        """
        return super().encode(_widen(bboxes), _widen(gt_bboxes))
