"""A small Xception to compare SNet with (ThunderNet paper, comparison of lightweight backbones)."""

from typing import Sequence, Tuple

from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn


class XceptionBlock(BaseModule):
    """Residual block of separable convolutions, each ReLU, 3x3 depthwise, 1x1 and batch norm.

    As in Xception, each separable convolution is preceded by its activation and has none between its
    two parts; the shortcut is a 1x1 convolution where the block changes the shape of the feature map.

    Args:
        in_channels (int): Number of input channels.
        out_channels (int): Number of output channels.
        stride (int): Stride of the first depthwise convolution and of the shortcut. Defaults to 1.
        num_convs (int): Number of separable convolutions. Defaults to 2.
        norm_cfg (dict): Config of the normalisation after each separable convolution. Defaults to
            ``dict(type='BN')``.
        init_cfg (dict, optional): Initialisation config. Defaults to None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        num_convs: int = 2,
        norm_cfg: ConfigType = dict(type='BN'),
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        layers = []
        for i in range(num_convs):
            layers += [
                nn.ReLU(),  # not in place: the shortcut reads the block's input too
                DepthwiseSeparableConvModule(
                    in_channels if i == 0 else out_channels,
                    out_channels,
                    3,
                    stride=stride if i == 0 else 1,
                    padding=1,
                    norm_cfg=norm_cfg,
                    act_cfg=None,
                    dw_norm_cfg=None,
                    bias=False,
                ),
            ]
        self.layers = nn.Sequential(*layers)
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvModule(in_channels, out_channels, 1, stride=stride, norm_cfg=norm_cfg, act_cfg=None)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block.

        Args:
            x (Tensor): Features before activation with shape (N, in_channels, H, W).

        Returns:
            Tensor: Features before activation with shape (N, out_channels, ceil(H / stride),
            ceil(W / stride)).
        """
        return self.shortcut(x) + self.layers(x)


@MODELS.register_module()
class SmallXception(BaseModule):
    """Xception with about the MACs of SNet146.

    Blocks of `Xception <https://arxiv.org/abs/1610.02357>`_ with the stem, the strides and the number
    of depthwise convolutions per stage (4, 8, 4) of SNet. The ThunderNet paper does not describe the
    Xception that it compares with. With the default widths, a classifier has 146 MMACs at 224 px.

    Args:
        stem_channels (int): Number of stem channels. Defaults to 24.
        stage_channels (Sequence[int]): Number of channels per stage. Defaults to (104, 208, 416).
        stage_blocks (Sequence[int]): Number of blocks per stage, the first of which has stride 2. Defaults
            to (2, 4, 2).
        convs_per_block (int): Number of separable convolutions per block. Defaults to 2.
        in_channels (int): Number of image channels. Defaults to 3.
        out_indices (Sequence[int]): Stages to output: 0, 1, 2 have strides 8, 16, 32. Defaults to (1, 2).
        norm_cfg (dict): Config of normalisation layers. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): Initialisation config. Defaults to None, which means Kaiming normal for
            convolutions and constant 1 for normalisation layers.

    Raises:
        ValueError: If ``stage_channels`` and ``stage_blocks`` differ in length, or ``out_indices``
            contains a stage that does not exist.

    Example:
        >>> import torch
        >>> from mmthunder.models import SmallXception
        >>> [tuple(x.shape) for x in SmallXception().eval()(torch.rand(1, 3, 320, 320))]
        [(1, 208, 20, 20), (1, 416, 10, 10)]
    """

    def __init__(
        self,
        stem_channels: int = 24,
        stage_channels: Sequence[int] = (104, 208, 416),
        stage_blocks: Sequence[int] = (2, 4, 2),
        convs_per_block: int = 2,
        in_channels: int = 3,
        out_indices: Sequence[int] = (1, 2),
        norm_cfg: ConfigType = dict(type='BN'),
        init_cfg: OptConfigType = None,
    ) -> None:
        super().__init__(
            init_cfg
            or [dict(type='Kaiming', layer='Conv2d'), dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm'])]
        )
        if len(stage_channels) != len(stage_blocks) or min(stage_blocks) < 1:
            raise ValueError(
                f'SmallXception: stage_blocks {tuple(stage_blocks)} must give at least one block to each '
                f'of the {len(stage_channels)} stages of stage_channels {tuple(stage_channels)}'
            )
        if not out_indices or not set(out_indices) <= set(range(len(stage_channels))):
            raise ValueError(
                f'SmallXception: out_indices {tuple(out_indices)} must be among {tuple(range(len(stage_channels)))}'
            )
        self.out_indices = tuple(out_indices)
        self.stem = nn.Sequential(
            ConvModule(in_channels, stem_channels, 3, stride=2, padding=1, norm_cfg=norm_cfg, act_cfg=None),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        self.stages = nn.ModuleList()
        width = stem_channels
        for channels, blocks in zip(stage_channels, stage_blocks):
            self.stages.append(
                nn.Sequential(
                    *(
                        XceptionBlock(
                            width if i == 0 else channels, channels, 2 if i == 0 else 1, convs_per_block, norm_cfg
                        )
                        for i in range(blocks)
                    )
                )
            )
            width = channels
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Compute the feature maps.

        Args:
            x (Tensor): Images with shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: One feature map, after activation, for each of ``out_indices``; index i has
            stride 2 ** (i + 3).
        """
        x = self.stem(x)
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outs.append(self.relu(x))
        return tuple(outs)
