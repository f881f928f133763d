"""Position-sensitive RoI align in native PyTorch (paper section 3.2; Light-Head R-CNN)."""

from typing import Tuple, Union

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

POOL_MODES = ('avg', 'max')


def _check_sampling(pool_mode: str, sampling_ratio: int) -> None:
    if pool_mode not in POOL_MODES:
        raise ValueError(f'PSRoIAlign: unknown pool_mode {pool_mode!r}; use one of {list(POOL_MODES)}')
    if sampling_ratio < 1:
        raise ValueError(
            f'PSRoIAlign: sampling_ratio {sampling_ratio} must be at least 1; adaptive '
            'sampling, which 0 means in mmcv and torchvision, is not supported'
        )


def _sample_points(start: Tensor, size: Tensor, bins: int, sampling_ratio: int, limit: int) -> Tuple[Tensor, Tensor]:
    """Compute sampling points along one axis.

    Args:
        start (Tensor): Start of each RoI in feature map cells, with shape (K, ).
        size (Tensor): Length of each RoI in feature map cells, with shape (K, ).
        bins (int): Number of bins along this axis.
        sampling_ratio (int): Number of samples per bin along this axis.
        limit (int): Size of the feature map along this axis, in cells.

    Returns:
        tuple[Tensor, Tensor]: Coordinates for ``grid_sample`` (-1 and 1 are the centres of the first and
        the last cell) and whether each point is on the feature map, both with shape
        (bins, sampling_ratio, K).
    """
    steps = (torch.arange(bins * sampling_ratio, dtype=start.dtype, device=start.device) + 0.5) / (
        bins * sampling_ratio
    )
    points = start + size * steps.unsqueeze(1)
    points = points.view(bins, sampling_ratio, -1)
    # Up to one cell outside the feature map a sample is the border's value, by padding_mode; further out it is 0.
    inside = (points >= -1) & (points <= limit)
    return points * (2 / max(limit - 1, 1)) - 1, inside


def ps_roi_align(
    feat: Tensor,
    rois: Tensor,
    output_size: Tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int = 2,
    pool_mode: str = 'avg',
    aligned: bool = True,
    min_size: float = 0.0,
) -> Tensor:
    """Position-sensitive RoI align: each bin is pooled from channels of its own.

    Output channel c of bin (i, j) is pooled from input channel ``(c * p_h + i) * p_w + j``, with
    ``sampling_ratio ** 2`` bilinear samples per bin. With the default arguments the result equals that
    of :func:`torchvision.ops.ps_roi_align`.

    Samples are taken by :func:`torch.nn.functional.grid_sample` with bins in its batch dimension, which
    runs on every device, is differentiable and can be exported to ONNX. The computation is at least in
    float32, since 16-bit coordinates are several pixels off. On CUDA the gradient is not deterministic,
    and PyTorch raises an error with ``randomness=dict(deterministic=True)``.

    Args:
        feat (Tensor): Feature map with shape (N, C * p_h * p_w, H, W).
        rois (Tensor): RoIs with shape (K, 5): batch index, x1, y1, x2, y2 in pixels of the image.
        output_size (tuple[int, int]): Number of bins (p_h, p_w).
        spatial_scale (float): Factor from pixels to feature map cells, 1 / stride.
        sampling_ratio (int): Number of samples per bin along each axis. Defaults to 2.
        pool_mode (str): ``'avg'`` or ``'max'`` over the samples of a bin. Defaults to ``'avg'``.
        aligned (bool): Whether to shift coordinates by half a cell, so that cell centres are at integers.
            Defaults to True.
        min_size (float): Minimum height and width of a RoI in feature map cells; smaller ones are enlarged.
            Defaults to 0.

    Returns:
        Tensor: Features with shape (K, C, p_h, p_w).

    Raises:
        ValueError: If ``pool_mode`` or ``sampling_ratio`` is not supported, or the channels of the
            features are not a multiple of the number of bins.
    """
    _check_sampling(pool_mode, sampling_ratio)
    if feat.shape[1] % (output_size[0] * output_size[1]):
        raise ValueError(
            f'PSRoIAlign: {feat.shape[1]} channels are not a multiple of the '
            f'{output_size[0]}x{output_size[1]} bins of output_size'
        )
    num_imgs, channels, height, width = feat.shape
    p_h, p_w = output_size
    dtype = feat.dtype
    compute_dtype = torch.promote_types(dtype, torch.float32)
    # (N, C * p_h * p_w, H, W) -> (N, p_h * p_w, C, H, W)
    bins = feat.to(compute_dtype).reshape(num_imgs, -1, p_h * p_w, height, width).transpose(1, 2)
    if num_imgs > 1:
        # grid_sample takes one grid per feature map, so RoIs are grouped by image.
        order = rois[:, 0].argsort(stable=True)
        rois = rois[order]
        counts = torch.bincount(rois[:, 0].long(), minlength=num_imgs).tolist()
    boxes = rois[:, 1:].to(compute_dtype) * spatial_scale - (0.5 if aligned else 0.0)
    x1, y1, x2, y2 = boxes.unbind(1)
    roi_w = (x2 - x1).clamp(min=min_size) if min_size > 0 else x2 - x1
    roi_h = (y2 - y1).clamp(min=min_size) if min_size > 0 else y2 - y1
    x, x_inside = _sample_points(x1, roi_w, p_w, sampling_ratio, width)
    y, y_inside = _sample_points(y1, roi_h, p_h, sampling_ratio, height)
    # (p_h, p_w, s, s, K): RoIs come last, since reducing the few samples of a bin is slow along the last axis.
    num_rois = rois.shape[0]
    shape = (p_h, p_w, sampling_ratio, sampling_ratio, num_rois)
    x = x[None, :, None].expand(shape)
    y = y[:, None, :, None].expand(shape)
    grid = torch.stack((x, y), -1).reshape(p_h * p_w, sampling_ratio**2, num_rois, 2)
    inside = (x_inside[None, :, None] & y_inside[:, None, :, None]).reshape(p_h * p_w, 1, sampling_ratio**2, num_rois)

    img_grids = grid.split(counts, 2) if num_imgs > 1 else (grid,)
    samples = torch.cat(
        [
            F.grid_sample(img_bins, img_grid, mode='bilinear', padding_mode='border', align_corners=True)
            for img_bins, img_grid in zip(bins, img_grids)
        ],
        3,
    )
    samples = samples * inside
    pooled = samples.amax(2) if pool_mode == 'max' else samples.mean(2)
    # (p_h * p_w, C, K) -> (K, C, p_h, p_w)
    pooled = pooled.permute(2, 1, 0).reshape(num_rois, channels // (p_h * p_w), p_h, p_w)
    return (pooled[order.argsort()] if num_imgs > 1 else pooled).to(dtype)


@MODELS.register_module()
class PSRoIAlign(nn.Module):
    """Module wrapper of :func:`ps_roi_align`.

    The paper's head averages the samples of a bin. The authors' release takes their maximum, without the
    half-cell shift and with RoIs of at least 0.1 cells:
    ``dict(type='PSRoIAlign', output_size=7, pool_mode='max', aligned=False, min_size=0.1)``.

    Args:
        output_size (int or tuple[int, int]): Number of bins (p_h, p_w).
        spatial_scale (float): Factor from pixels to feature map cells, 1 / stride.
        sampling_ratio (int): Number of samples per bin along each axis. Defaults to 2.
        pool_mode (str): ``'avg'`` or ``'max'`` over the samples of a bin. Defaults to ``'avg'``.
        aligned (bool): Whether to shift coordinates by half a cell, so that cell centres are at integers.
            Defaults to True.
        min_size (float): Minimum height and width of a RoI in feature map cells; smaller ones are enlarged.
            Defaults to 0.

    Raises:
        ValueError: If ``pool_mode`` or ``sampling_ratio`` is not supported.
    """

    def __init__(
        self,
        output_size: Union[int, Tuple[int, int]],
        spatial_scale: float,
        sampling_ratio: int = 2,
        pool_mode: str = 'avg',
        aligned: bool = True,
        min_size: float = 0.0,
    ) -> None:
        super().__init__()
        _check_sampling(pool_mode, sampling_ratio)
        self.output_size = _pair(output_size)
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.pool_mode = pool_mode
        self.aligned = aligned
        self.min_size = min_size

    def forward(self, feat: Tensor, rois: Tensor) -> Tensor:
        """Pool the RoIs; see :func:`ps_roi_align` for the shapes."""
        return ps_roi_align(
            feat,
            rois,
            self.output_size,
            self.spatial_scale,
            self.sampling_ratio,
            self.pool_mode,
            self.aligned,
            self.min_size,
        )

    def extra_repr(self) -> str:
        """Return the arguments for ``repr``."""
        return (
            f'output_size={self.output_size}, spatial_scale={self.spatial_scale}, '
            f'sampling_ratio={self.sampling_ratio}, pool_mode={self.pool_mode!r}, aligned={self.aligned}, '
            f'min_size={self.min_size}'
        )
