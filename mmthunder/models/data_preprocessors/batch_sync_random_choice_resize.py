"""Multi-scale training with one size per batch."""

from typing import List, Sequence, Tuple

import numpy as np
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.logging import MessageHub
from torch import Tensor, nn


@MODELS.register_module()
class BatchSyncRandomChoiceResize(nn.Module):
    """Resizes each training batch to a size drawn from a list.

    mmdet's ``RandomChoiceResize`` draws a size per image, so that batches are padded to the largest
    one; its ``BatchSyncRandomResize`` draws from a range. Here the size depends on the iteration and
    the seed only: it is the same in all processes and in a resumed run.

    Args:
        sizes (Sequence[int]): Lengths of the longer side to choose from, in pixels. The pipeline should
            resize images to the largest one, since upsampling adds no detail.
        seed (int): Random seed. Defaults to 0.

    Raises:
        ValueError: If ``sizes`` is empty or a size is below 1 px.
    """

    def __init__(self, sizes: Sequence[int], seed: int = 0) -> None:
        super().__init__()
        if not sizes or min(sizes) < 1:
            raise ValueError(
                f'BatchSyncRandomChoiceResize: sizes {list(sizes)} must be a list of side lengths in pixels'
            )
        self.sizes = tuple(sizes)
        self.seed = seed

    def forward(self, inputs: Tensor, data_samples: List[DetDataSample]) -> Tuple[Tensor, List[DetDataSample]]:
        """Resize the images and their boxes.

        Args:
            inputs (Tensor): Images with shape (N, C, H, W).
            data_samples (list[:obj:`DetDataSample`]): Annotations of the images, modified in place.

        Returns:
            tuple[Tensor, list[:obj:`DetDataSample`]]: The resized images with shape (N, C, H', W'), and
            ``data_samples``.

        Raises:
            ValueError: If the annotations have masks, which are not supported.
        """
        if any('masks' in sample.gt_instances for sample in data_samples):
            raise ValueError(
                'BatchSyncRandomChoiceResize: the annotations have masks, which it does not resize; leave with_mask '
                "out of LoadAnnotations, or use mmdet's RandomChoiceResize"
            )
        iteration = MessageHub.get_current_instance().get_info('iter', 0)
        size = np.random.default_rng((self.seed, iteration)).choice(self.sizes)
        height, width = inputs.shape[-2:]
        scale = size / max(height, width)
        shape = (round(height * scale), round(width * scale))
        if shape == (height, width):
            return inputs, data_samples
        inputs = F.interpolate(inputs, size=shape, mode='bilinear', align_corners=False, antialias=True)
        scale_y, scale_x = shape[0] / height, shape[1] / width
        for sample in data_samples:
            for instances in (sample.gt_instances, sample.ignored_instances):
                instances.bboxes = instances.bboxes * instances.bboxes.new_tensor((scale_x, scale_y) * 2)
            sample.set_metainfo(
                dict(
                    img_shape=(round(sample.img_shape[0] * scale_y), round(sample.img_shape[1] * scale_x)),
                    pad_shape=shape,
                    batch_input_shape=shape,
                )
            )
        return inputs, data_samples
