"""RoI features for the light head of ThunderNet."""

from typing import Optional, Sequence, Tuple

from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptMultiConfig
from torch import Tensor, nn


@MODELS.register_module()
class PSRoIExtractor(BaseRoIExtractor):
    """Extracts position-sensitive RoI features from one feature map.

    mmdet's extractors build the RoI layer from ``mmcv.ops``, which has no PSRoIAlign, and cast RoIs to the
    type of the features, whose 16 bits are several pixels off; this one does neither.

    Args:
        roi_layer (dict): Config of the RoI layer, without ``spatial_scale``.
        out_channels (int): Number of channels of the RoI features, alpha in the paper.
        featmap_strides (Sequence[int]): Stride of the feature map in pixels, one entry.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Raises:
        ValueError: If there is not exactly one stride.
    """

    def __init__(
        self, roi_layer: ConfigType, out_channels: int, featmap_strides: Sequence[int], init_cfg: OptMultiConfig = None
    ) -> None:
        if len(featmap_strides) != 1:
            raise ValueError(
                f'PSRoIExtractor: featmap_strides {list(featmap_strides)} has {len(featmap_strides)} '
                'levels, but RoI features come from one map; give one stride, for example [16]'
            )
        super().__init__(roi_layer, out_channels, featmap_strides, init_cfg)

    def build_roi_layers(self, layer_cfg: ConfigType, featmap_strides: Sequence[int]) -> nn.ModuleList:
        """Build the RoI layer from mmdet's registry."""
        return nn.ModuleList(MODELS.build(dict(spatial_scale=1 / stride, **layer_cfg)) for stride in featmap_strides)

    def forward(self, feats: Tuple[Tensor], rois: Tensor, roi_scale_factor: Optional[float] = None) -> Tensor:
        """Extract RoI features.

        Args:
            feats (tuple[Tensor]): One feature map with shape (N, out_channels * p * p, H, W).
            rois (Tensor): RoIs with shape (K, 5): batch index, x1, y1, x2, y2 in pixels.
            roi_scale_factor (float, optional): Factor to scale RoIs by. Defaults to None.

        Returns:
            Tensor: Features with shape (K, out_channels, p, p).
        """
        if roi_scale_factor is not None:
            rois = self.roi_rescale(rois, roi_scale_factor)
        return self.roi_layers[0](feats[0], rois)
