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
    """RPN with a 5x5 depthwise and a 1x1 convolution instead of a 3x3 convolution.

    The layers before the two output layers are the *trunk*. :class:`ThunderNet` runs the trunk itself,
    since its output is also the input of the spatial attention module; this head computes objectness
    logits and box deltas from it.

    Args:
        in_channels (int): Number of channels of the CEM feature map.
        feat_channels (int): Number of output channels of the trunk. Defaults to 256.
        kernel_size (int): Kernel size of the trunk's first convolution, odd. Defaults to 5.
        depthwise (bool): Whether the trunk is a depthwise and a 1x1 convolution; otherwise it is one
            full convolution, as in Light-Head R-CNN. Defaults to True.
        norm_cfg (dict): Config of the trunk's normalisation layers. Defaults to ``dict(type='BN')``.
        kwargs: Other arguments of :class:`mmdet.models.RPNHead` but ``num_convs``.

    Raises:
        ValueError: If the anchor generator has more than one level, ``kernel_size`` is even, or ``num_convs`` is given.
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
        if 'num_convs' in kwargs:
            raise ValueError('LightRPNHead: has no num_convs (kernel_size and depthwise set its trunk); leave it out')
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
        """Compute logits and deltas from the output of the trunk.

        Args:
            x (tuple[Tensor]): Output of :meth:`ThunderNet.extract_feat`, the last entry of which is the
                output of the trunk with shape (N, feat_channels, H, W).

        Returns:
            tuple[list[Tensor], list[Tensor]]: Objectness logits with shape (N, A, H, W) and box deltas with
            shape (N, 4 * A, H, W) for A anchors per location, each in a list of one level.
        """
        return super().forward(x[-1:])

    def forward_single(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """Compute logits and deltas of a single level; see :meth:`forward`."""
        outs = self.rpn_cls(x), self.rpn_reg(x)
        # Also under autocast: mmcv's NMS does not support bfloat16, whose 8 significant bits are too few for boxes.
        return tuple(out.to(torch.promote_types(out.dtype, torch.float32)) for out in outs)
