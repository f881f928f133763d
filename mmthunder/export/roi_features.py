"""RoI features of a fixed number of boxes per image, with operators whose shapes do not depend on values.

The modules themselves sort and split RoIs by image or by pyramid level, which a graph cannot follow.
"""

from typing import Sequence, Tuple

import torch
import torch.nn.functional as F
from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor, SingleRoIExtractor
from torch import Tensor
from torchvision.ops import roi_align

from mmthunder.models.layers import PSRoIAlign
from mmthunder.models.roi_heads import PSRoIExtractor


def _sample_points(start: Tensor, size: Tensor, bins: int, samples: int, cells: int) -> Tuple[Tensor, Tensor]:
    """Place samples along one axis, as :func:`mmthunder.models.layers.ps_roi_align` does.

    Args:
        start (Tensor): Where each RoI begins, in cells, with shape (N, R).
        size (Tensor): How long each RoI is, in cells, with shape (N, R).
        bins (int): Bins along this axis.
        samples (int): Samples of each bin along this axis.
        cells (int): Cells of the map along this axis.

    Returns:
        tuple[Tensor, Tensor]: Coordinates of the samples in cells, moved to the border where they are
        beyond, and 1 where a sample is on the map and 0 elsewhere, both (N, bins, R, samples).
    """
    steps = (torch.arange(bins * samples, device=start.device) + 0.5) / (bins * samples)
    points = start[:, None, :, None] + size[:, None, :, None] * steps.view(bins, 1, samples)
    inside = ((points >= -1) & (points <= cells)).to(points.dtype)
    return points.clamp(0, cells - 1), inside


def _axis_weights(points: Tensor, inside: Tensor, cells: int) -> Tensor:
    """Average the bilinear weights of a bin's samples on the cells of one axis.

    Args:
        points (Tensor): Coordinates in cells with shape (N, bins, R, samples).
        inside (Tensor): 0 for samples that count as zero, with the same shape.
        cells (int): Cells of the map along this axis.

    Returns:
        Tensor: Weights with shape (N, bins, cells, R).
    """
    centers = torch.arange(cells, device=points.device).to(points.dtype)[:, None]
    weights = 0
    for point, on_map in zip(points.unbind(-1), inside.unbind(-1)):
        weights = weights + (1 - (point.unsqueeze(2) - centers).abs()).clamp(min=0) * on_map.unsqueeze(2)
    return weights / points.shape[-1]


def ps_roi_align(layer: PSRoIAlign, feat: Tensor, boxes: Tensor) -> Tensor:
    """Compute :class:`PSRoIAlign` of batched boxes.

    The average of a bin's bilinear samples is separable: the weights of the rows times those of the
    columns. So average pooling is a matrix product over the columns and a weighted sum over the rows.
    The maximum is not separable and samples the map.

    Args:
        layer (PSRoIAlign): The layer.
        feat (Tensor): Feature map with shape (N, C * p_h * p_w, H, W).
        boxes (Tensor): Boxes as x1, y1, x2, y2 in pixels with shape (N, R, 4).

    Returns:
        Tensor: Features with shape (N * R, C, p_h, p_w).
    """
    num_imgs, _, height, width = feat.shape
    num_rois = boxes.shape[1]
    p_h, p_w = layer.output_size
    x1, y1, x2, y2 = (boxes * layer.spatial_scale - (0.5 if layer.aligned else 0.0)).unbind(-1)
    roi_w, roi_h = x2 - x1, y2 - y1
    if layer.min_size > 0:
        roi_w, roi_h = roi_w.clamp(min=layer.min_size), roi_h.clamp(min=layer.min_size)
    samples = layer.sampling_ratio
    x, x_inside = _sample_points(x1, roi_w, p_w, samples, width)
    y, y_inside = _sample_points(y1, roi_h, p_h, samples, height)
    # (N, C, p_h, p_w, H, W)
    bins = feat.reshape(num_imgs, -1, p_h, p_w, height, width)
    channels = bins.shape[1]

    if layer.pool_mode == 'avg':
        columns = _axis_weights(x, x_inside, width)
        rows = _axis_weights(y, y_inside, height)
        bins = bins.permute(0, 3, 1, 2, 4, 5).reshape(num_imgs, p_w, channels * p_h * height, width)
        pooled = (bins @ columns).reshape(num_imgs, p_w, channels, p_h, height, num_rois)
        # (N, p_w, C, p_h, R)
        pooled = (pooled * rows[:, None, None]).sum(-2)
        return pooled.permute(0, 4, 2, 3, 1).reshape(-1, channels, p_h, p_w)

    bins = bins.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels, height, width)
    shape = (num_imgs, p_h, p_w, num_rois, samples, samples)
    # -1 and 1 are the outer edges of the first and the last cell, so that maps of one cell have coordinates too.
    x = ((2 * x + 1) / width - 1)[:, None, :, :, None, :].expand(shape)
    y = ((2 * y + 1) / height - 1)[:, :, None, :, :, None].expand(shape)
    grid = torch.stack((x, y), -1).reshape(-1, num_rois, samples**2, 2)
    inside = (x_inside[:, None, :, :, None, :] * y_inside[:, :, None, :, :, None]).reshape(-1, 1, num_rois, samples**2)
    values = F.grid_sample(bins, grid, mode='bilinear', padding_mode='border', align_corners=False)
    # (N * p_h * p_w, C, R) -> (N * R, C, p_h, p_w)
    pooled = (values * inside).amax(-1).reshape(num_imgs, p_h, p_w, channels, num_rois)
    return pooled.permute(0, 4, 3, 1, 2).reshape(-1, channels, p_h, p_w)


def pyramid_roi_align(extractor: SingleRoIExtractor, feats: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Compute mmdet's :class:`SingleRoIExtractor` of batched boxes.

    Each level pools all boxes, those of other levels as boxes without area, which cost nothing with
    adaptive sampling; of each box the level that it belongs to counts.

    Args:
        extractor (SingleRoIExtractor): The extractor, with average ``RoIAlign``.
        feats (Sequence[Tensor]): One map per level with shape (N, C, H, W).
        boxes (Tensor): Boxes as x1, y1, x2, y2 in pixels with shape (N, R, 4).

    Returns:
        Tensor: Features with shape (N * R, C, p_h, p_w).
    """
    num_imgs, num_rois = boxes.shape[:2]
    images = torch.arange(num_imgs, device=boxes.device).to(boxes.dtype)
    images = images[:, None].expand(num_imgs, num_rois).reshape(-1, 1)
    boxes = boxes.reshape(-1, 4)
    levels = extractor.map_roi_levels(torch.cat((images, boxes), 1), len(feats))
    pooled = 0
    for level, (layer, feat) in enumerate(zip(extractor.roi_layers, feats)):
        here = (levels == level).to(boxes.dtype)[:, None]
        rois = torch.cat((images, boxes * here), 1)
        features = roi_align(feat, rois, layer.output_size, layer.spatial_scale, layer.sampling_ratio, layer.aligned)
        pooled = pooled + features * here[..., None, None]
    return pooled


def roi_features(extractor: BaseRoIExtractor, feats: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Extract the features of batched boxes.

    Args:
        extractor (BaseRoIExtractor): ``PSRoIExtractor`` or mmdet's ``SingleRoIExtractor``.
        feats (Sequence[Tensor]): The feature maps that the extractor reads.
        boxes (Tensor): Boxes as x1, y1, x2, y2 in pixels with shape (N, R, 4).

    Returns:
        Tensor: Features with shape (N * R, C, p_h, p_w).
    """
    if isinstance(extractor, PSRoIExtractor):
        return ps_roi_align(extractor.roi_layers[0], feats[0], boxes)
    return pyramid_roi_align(extractor, feats, boxes)
