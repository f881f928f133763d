"""Expansion and crop of SSD's augmentation, for the pixels that stay."""

from typing import Optional, Sequence, Tuple

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes, autocast_box_type

TRIALS = 50  # of MinIoURandomCrop for each minimum IoU
Box = Tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels


def _uniform(low: float, high: float = 1) -> float:
    """Draw what ``np.random.uniform`` would, which takes three times as long."""
    return low + (high - low) * np.random.random_sample()


@TRANSFORMS.register_module()
class ExpandMinIoURandomCrop(BaseTransform):
    """mmdet's ``Expand`` and ``MinIoURandomCrop`` in one, bit for bit, in a fraction of their time.

    ``Expand`` fills an image of up to 16 times the area, of which ``MinIoURandomCrop`` keeps a part. Here both first
    draw from numpy's random state, in the same order, and look at boxes; then only the part that is kept is made.
    Images, boxes, labels and the random state afterwards are those of the two transforms.

    The arguments are those of :class:`mmdet.datasets.transforms.Expand` and
    :class:`mmdet.datasets.transforms.MinIoURandomCrop`.

    Args:
        mean (Sequence[float]): Color around the image. Defaults to (0, 0, 0).
        to_rgb (bool): Whether ``mean`` is in the order red, green, blue; images are blue, green, red. Defaults to True.
        ratio_range (Sequence[float]): Range of the expanded image's side lengths over the image's. Defaults to (1, 4).
        prob (float): Probability of an expansion. Defaults to 0.5.
        min_ious (Sequence[float]): Minimum IoUs of all boxes with the crop, one of which is drawn; none and no crop at
            all are drawn as often as each. Defaults to (0.1, 0.3, 0.5, 0.7, 0.9).
        min_crop_size (float): Minimum side lengths of the crop over the expanded image's. Defaults to 0.3.
        bbox_clip_border (bool): Whether to clip boxes to the crop. Defaults to True.
    """

    def __init__(
        self,
        mean: Sequence[float] = (0, 0, 0),
        to_rgb: bool = True,
        ratio_range: Sequence[float] = (1, 4),
        prob: float = 0.5,
        min_ious: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
        min_crop_size: float = 0.3,
        bbox_clip_border: bool = True,
    ) -> None:
        self.fill = mean[::-1] if to_rgb else mean
        self.ratio_range = ratio_range
        self.prob = prob
        self.modes = (1, *min_ious, 0)  # 1 for no crop
        self.min_crop_size = min_crop_size
        self.bbox_clip_border = bbox_clip_border

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Expand and crop an image.

        Args:
            results (dict): ``img``, (H, W, C), and ``gt_bboxes``; optionally ``gt_bboxes_labels`` and
                ``gt_ignore_flags``.

        Returns:
            dict: The same with ``img``, ``img_shape``, ``gt_bboxes``, ``gt_bboxes_labels`` and ``gt_ignore_flags`` of
            the crop.

        Raises:
            ValueError: If the image has no channels, there are no boxes, or there are masks or a segmentation map.
        """
        self._check(results)
        height, width = results['img'].shape[:2]
        left = top = 0
        if _uniform(0) <= self.prob:
            ratio = _uniform(*self.ratio_range)
            left, top = int(_uniform(0, width * ratio - width)), int(_uniform(0, height * ratio - height))
            height, width = int(height * ratio), int(width * ratio)
        boxes = results['gt_bboxes'].numpy() + np.float32((left, top, left, top))
        patch, kept = self._draw_crop(boxes, height, width)
        if patch is None:
            patch = (0, 0, width, height)
        elif len(boxes):
            x1, y1, x2, y2 = patch
            boxes = boxes[kept] - np.float32((x1, y1, x1, y1))
            if self.bbox_clip_border:
                boxes = boxes.clip(0, np.float32((x2 - x1, y2 - y1, x2 - x1, y2 - y1)))
            for key in {'gt_bboxes_labels', 'gt_ignore_flags'} & results.keys():
                results[key] = results[key][kept]
        results['gt_bboxes'] = HorizontalBoxes(torch.from_numpy(boxes), clone=False)
        results['img'] = self._cut(results['img'], left, top, patch)
        results['img_shape'] = results['img'].shape[:2]
        return results

    def _check(self, results: dict) -> None:
        name = f'{type(self).__name__}: {results.get("img_path", "image")}'
        if results['img'].ndim != 3:
            raise ValueError(f'{name} has shape {results["img"].shape}, expected (H, W, C): load it with color')
        if results.get('gt_bboxes') is None:
            raise ValueError(f'{name} has no gt_bboxes: put LoadAnnotations(with_bbox=True) before')
        for key in ('gt_masks', 'gt_seg_map'):
            if results.get(key) is not None:
                raise ValueError(f"{name} has {key}, which is not supported: use mmdet's Expand and MinIoURandomCrop")

    def _draw_crop(self, boxes: np.ndarray, height: int, width: int) -> Tuple[Optional[Box], np.ndarray]:
        """Draw crops of the expanded image until one has the minimum IoU with all boxes and the center of one.

        The arithmetic is that of mmdet's ``HorizontalBoxes.overlaps``, in float32.

        Args:
            boxes (np.ndarray): Boxes, (N, 4), float32.
            height (int): Height of the expanded image.
            width (int): Width of the expanded image.

        Returns:
            tuple: The crop, or None for no crop, and which boxes have their center in it, (N,).
        """
        min_width, min_height = self.min_crop_size * width, self.min_crop_size * height
        x1, y1, x2, y2 = np.ascontiguousarray(boxes.T)
        areas = (x2 - x1) * (y2 - y1)
        center_x, center_y = (x1 + x2) / 2, (y1 + y2) / 2
        smallest = max(areas.min(initial=np.inf), 0)
        while True:
            min_iou = np.random.choice(self.modes)
            if min_iou == 1:
                return None, np.ones(len(boxes), bool)
            for _ in range(TRIALS):
                new_width, new_height = _uniform(min_width, width), _uniform(min_height, height)
                if not 0.5 <= new_height / new_width <= 2:
                    continue
                # mmdet gives one bound; the other one is 1.
                left, top = _uniform(width - new_width), _uniform(height - new_height)
                patch = int(left), int(top), int(left + new_width), int(top + new_height)
                left, top, right, bottom = patch
                if right == left or bottom == top:
                    continue
                if not len(boxes):
                    return patch, np.zeros(0, bool)
                # No box overlaps by more than its area. Most crops fail here; the margin is for rounding.
                if smallest < 0.999 * min_iou * (right - left) * (bottom - top):
                    continue
                overlaps = (np.minimum(x2, right) - np.maximum(x1, left)).clip(0)
                overlaps *= (np.minimum(y2, bottom) - np.maximum(y1, top)).clip(0)
                unions = areas + np.float32((right - left) * (bottom - top)) - overlaps
                if (overlaps / np.maximum(unions, np.float32(1e-6))).min() < min_iou:
                    continue
                kept = (center_x > left) & (center_y > top) & (center_x < right) & (center_y < bottom)
                if kept.any():
                    return patch, kept

    def _cut(self, image: np.ndarray, left: int, top: int, patch: Box) -> np.ndarray:
        """Cut a patch out of the expanded image, of which nothing else is made.

        Args:
            image (np.ndarray): The image, (H, W, C).
            left (int): Place of the image in the expanded one.
            top (int): Place of the image in the expanded one.
            patch (tuple[int, int, int, int]): The patch in the expanded image.

        Returns:
            np.ndarray: The patch; a view where it is a part of the image.
        """
        x1, y1, x2, y2 = patch
        part = image[max(y1 - top, 0) : max(y2 - top, 0), max(x1 - left, 0) : max(x2 - left, 0)]
        if part.shape[:2] == (y2 - y1, x2 - x1):
            return part
        out = np.empty((y2 - y1, x2 - x1, image.shape[2]), image.dtype)
        out[:] = np.full(out.shape[1:], self.fill, image.dtype)  # rows are copied faster than pixels
        x, y = max(left - x1, 0), max(top - y1, 0)
        out[y : y + part.shape[0], x : x + part.shape[1]] = part
        return out

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(fill={self.fill}, ratio_range={self.ratio_range}, prob={self.prob}, '
            f'modes={self.modes}, min_crop_size={self.min_crop_size}, bbox_clip_border={self.bbox_clip_border})'
        )
