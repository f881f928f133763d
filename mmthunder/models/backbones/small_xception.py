"""A small Xception, a backbone to compare SNet with (ThunderNet paper, comparison of lightweight backbones)."""

from typing import Sequence, Tuple

from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn


class XceptionBlock(BaseModule):
    """Residual block of separable convolutions: ReLU, 3x3 depthwise, 1x1, batch norm, several times.

    As in Xception, the activation comes before each separable convolution, with none between its two
    parts, and the shortcut is a 1x1 convolution where the block changes the size of the map.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        stride (int): Stride of the first depthwise convolution and the shortcut. Defaults to 1.
        num_convs (int): Separable convolutions. Defaults to 2.
        norm_cfg (dict): Normalisation after each separable convolution. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): Initialisation. Defaults to None.
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
            x (Tensor): Features with shape (N, in_channels, H, W), not yet activated.

        Returns:
            Tensor: Features with shape (N, out_channels, ceil(H / stride), ceil(W / stride)), not yet
            activated.
        """
        return self.shortcut(x) + self.layers(x)


@MODELS.register_module()
class SmallXception(BaseModule):
    """Xception at the size of SNet146.

    The blocks are those of `Xception <https://arxiv.org/abs/1610.02357>`_; the stem, the strides and
    the number of 3x3 depthwise convolutions of each stage (4, 8, 4) are SNet's. The layout of the
    network that ThunderNet was compared with is not known. The default widths make a classifier of 146
    MMACs at 224 px.

    Args:
        stem_channels (int): Width of the first convolution. Defaults to 24.
        stage_channels (Sequence[int]): Widths of the stages. Defaults to (104, 208, 416).
        stage_blocks (Sequence[int]): Blocks of each stage; the first has stride 2. Defaults to (2, 4, 2).
        convs_per_block (int): Separable convolutions of a block. Defaults to 2.
        in_channels (int): Channels of the image. Defaults to 3.
        out_indices (Sequence[int]): Which maps to return: 0, 1, 2 for strides 8, 16, 32 pixels.
            Defaults to (1, 2).
        norm_cfg (dict): Normalisation. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): Initialisation. Defaults to Kaiming normal for convolutions and
            constant 1 for normalisation.

    Raises:
        ValueError: If the stages' widths and numbers of blocks do not fit, or ``out_indices`` names a
            stage that does not exist.

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
            tuple[Tensor]: One activated map for each of ``out_indices``; that of index i has stride
            2 ** (i + 3) pixels.
        """
        x = self.stem(x)
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outs.append(self.relu(x))
        return tuple(outs)
