"""Spatial Attention Module of ThunderNet (paper section 3.2, Figure 4)."""

from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor


@MODELS.register_module()
class SpatialAttention(BaseModule):
    """Re-weights the CEM feature map with the RPN's knowledge of foreground regions.

    ``F_CEM * sigmoid(BN(conv1x1(F_RPN)))``, where F_RPN is the RPN's intermediate feature map.

    Args:
        in_channels (int): Number of channels of the RPN feature map. Defaults to 256.
        out_channels (int): Number of channels of the CEM feature map. Defaults to 245.
        norm_cfg (dict): Config of the normalisation layer. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): Initialisation config. Defaults to None, which means that of
            :class:`mmcv.cnn.ConvModule`.
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
        """Re-weight the feature map.

        Args:
            feat (Tensor): CEM feature map with shape (N, out_channels, H, W).
            rpn_feat (Tensor): RPN feature map with shape (N, in_channels, H, W).

        Returns:
            Tensor: Feature map with shape (N, out_channels, H, W).
        """
        return feat * self.theta(rpn_feat)
