"""IoUs of many boxes that stay in the processor's cache."""

from typing import Union

import torch
from mmdet.models.task_modules import BboxOverlaps2D
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import BaseBoxes, get_box_tensor
from torch import Tensor

ROWS = 16  # x 10,000 anchors in float32 are 640 KB


@TASK_UTILS.register_module()
class ChunkedBboxOverlaps2D(BboxOverlaps2D):
    """mmdet's ``BboxOverlaps2D`` with a few rows of IoUs at a time, bit for bit.

    mmdet makes several arrays of boxes x anchors x 2 coordinates, 40 MB each for 500 boxes and 10,000 anchors. On CPU
    this takes most of the time of ``MaxIoUAssigner``. On other devices, and for other modes than ``'iou'``, this is
    mmdet's.

    Takes the arguments of :class:`~mmdet.models.task_modules.BboxOverlaps2D`.
    """

    @torch.no_grad()
    def __call__(
        self,
        bboxes1: Union[Tensor, BaseBoxes],
        bboxes2: Union[Tensor, BaseBoxes],
        mode: str = 'iou',
        is_aligned: bool = False,
    ) -> Tensor:
        """Compute overlaps, without gradients.

        Args:
            bboxes1 (Tensor or BaseBoxes): Boxes as x1, y1, x2, y2 with shape (M, 4).
            bboxes2 (Tensor or BaseBoxes): Boxes with shape (N, 4).
            mode (str): ``'iou'``, ``'iof'`` or ``'giou'``. Defaults to ``'iou'``.
            is_aligned (bool): Whether to compare boxes pairwise. Defaults to False.

        Returns:
            Tensor: Overlaps with shape (M, N), or (M, ) if aligned.
        """
        boxes1, boxes2 = get_box_tensor(bboxes1), get_box_tensor(bboxes2)
        is_plain = all(
            boxes.device.type == 'cpu' and boxes.dtype == torch.float32 and boxes.ndim == 2 and boxes.shape[1] == 4
            for boxes in (boxes1, boxes2)
        )
        if mode != 'iou' or is_aligned or self.dtype == 'fp16' or not is_plain:
            return super().__call__(bboxes1, bboxes2, mode, is_aligned)
        ious = boxes1.new_empty(len(boxes1), len(boxes2))
        x1, y1, x2, y2 = boxes2.T.contiguous()
        areas = (x2 - x1) * (y2 - y1)
        for boxes, out in zip(boxes1.split(ROWS), ious.split(ROWS)):
            left, top, right, bottom = boxes.T.unsqueeze(2)
            overlaps = torch.minimum(right, x2).sub_(torch.maximum(left, x1)).clamp_(0)
            overlaps *= torch.minimum(bottom, y2).sub_(torch.maximum(top, y1)).clamp_(0)
            unions = ((right - left) * (bottom - top) + areas).sub_(overlaps).clamp_(1e-6)
            torch.div(overlaps, unions, out=out)
        return ious
