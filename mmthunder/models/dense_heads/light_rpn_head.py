"""The compressed RPN of ThunderNet (paper section 3.2)."""

from typing import List, Tuple

import torch
from mmcv.cnn import ConvModule
from mmdet.models.dense_heads import RPNHead
from mmdet.registry import MODELS
from mmdet.utils import ConfigType
from torch import Tensor, nn


@MODELS.register_module()
class LightRPNHead(RPNHead):
    """RPN whose 3x3 convolution is a 5x5 depthwise and a 1x1 convolution.

    The convolutions before the two output layers are the *trunk*. :class:`ThunderNet` runs the trunk
    itself, since the spatial attention module reads its map too; this head then turns that map into
    objectness logits and box deltas.

    Args:
        in_channels (int): Channels of the CEM map.
        feat_channels (int): Channels of the trunk's map. Defaults to 256.
        kernel_size (int): Kernel of the trunk's first convolution, in cells. Defaults to 5.
        depthwise (bool): Whether the trunk is a depthwise and a 1x1 convolution; otherwise it is one
            full convolution, as in Light-Head R-CNN. Defaults to True.
        norm_cfg (dict): Normalisation of the trunk. Defaults to ``dict(type='BN')``.
        kwargs: Arguments of :class:`mmdet.models.RPNHead`.

    Raises:
        ValueError: If the anchor generator has more than one level, or the kernel is even.
    """

    def __init__(
        self,
        in_channels: int,
        feat_channels: int = 256,
        kernel_size: int = 5,
        depthwise: bool = True,
        norm_cfg: ConfigType = dict(type='BN'),
        **kwargs,
    ) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f'LightRPNHead: kernel_size {kernel_size} must be odd to keep the map size')
        self.kernel_size = kernel_size
        self.depthwise = depthwise
        self.norm_cfg = norm_cfg
        super().__init__(in_channels, feat_channels=feat_channels, **kwargs)
        if self.prior_generator.num_levels != 1:
            raise ValueError(
                f'LightRPNHead: the anchor generator has {self.prior_generator.num_levels} levels '
                f'(strides {self.prior_generator.strides}), but ThunderNet has one map; use one stride, '
                'for example strides=[16]'
            )

    def _init_layers(self) -> None:
        """Build the trunk and the output layers."""
        conv = dict(padding=self.kernel_size // 2, norm_cfg=self.norm_cfg)
        if self.depthwise:
            self.trunk = nn.Sequential(
                ConvModule(self.in_channels, self.in_channels, self.kernel_size, groups=self.in_channels, **conv),
                ConvModule(self.in_channels, self.feat_channels, 1, norm_cfg=self.norm_cfg),
            )
        else:
            self.trunk = ConvModule(self.in_channels, self.feat_channels, self.kernel_size, **conv)
        self.rpn_cls = nn.Conv2d(self.feat_channels, self.num_base_priors * self.cls_out_channels, 1)
        self.rpn_reg = nn.Conv2d(self.feat_channels, self.num_base_priors * self.bbox_coder.encode_size, 1)

    def forward(self, x: Tuple[Tensor, ...]) -> Tuple[List[Tensor], List[Tensor]]:
        """Compute the outputs from the trunk's map.

        Args:
            x (tuple[Tensor]): What :meth:`ThunderNet.extract_feat` returns; the last entry is the
                trunk's map with shape (N, feat_channels, H, W).

        Returns:
            tuple[list[Tensor], list[Tensor]]: Objectness logits (N, A, H, W) and box deltas
            (N, 4 * A, H, W) of the A anchors of each cell, each in a list of one level.
        """
        return super().forward(x[-1:])

    def forward_single(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """Compute logits and deltas of the one level; see :meth:`forward`."""
        outs = self.rpn_cls(x), self.rpn_reg(x)
        # Under autocast too: mmcv's NMS has no bfloat16, and boxes need more than its 8 bits.
        return tuple(out.to(torch.promote_types(out.dtype, torch.float32)) for out in outs)
