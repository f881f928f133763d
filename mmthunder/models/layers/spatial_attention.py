"""Spatial Attention Module of ThunderNet (paper section 3.2, Figure 4)."""

from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor


@MODELS.register_module()
class SpatialAttention(BaseModule):
    """Re-weights the CEM map with what the RPN has learned about foreground.

    ``F_CEM * sigmoid(BN(conv1x1(F_RPN)))``, where F_RPN is the RPN's intermediate map.

    Args:
        in_channels (int): Channels of the RPN map. Defaults to 256.
        out_channels (int): Channels of the CEM map. Defaults to 245.
        norm_cfg (dict): Normalisation. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): Initialisation. Defaults to None, which is
            :class:`mmcv.cnn.ConvModule`'s.
    """

    def __init__(
        self,
        in_channels: int = 256,
        out_channels: int = 245,
        norm_cfg: ConfigType = dict(type='BN'),
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.theta = ConvModule(in_channels, out_channels, 1, norm_cfg=norm_cfg, act_cfg=dict(type='Sigmoid'))

    def forward(self, feat: Tensor, rpn_feat: Tensor) -> Tensor:
        """Re-weight the map.

        Args:
            feat (Tensor): CEM map with shape (N, out_channels, H, W).
            rpn_feat (Tensor): RPN map with shape (N, in_channels, H, W).

        Returns:
            Tensor: Map with shape (N, out_channels, H, W).
        """
        return feat * self.theta(rpn_feat)
