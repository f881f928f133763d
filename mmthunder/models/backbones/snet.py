"""SNet, the backbone of ThunderNet (paper section 3.1, Table 1)."""

from typing import List, Optional, Sequence, Tuple

import torch
import torch.utils.checkpoint as cp
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

SHUFFLES = ('even_odd', 'interleave')


class SNetBlock(BaseModule):
    """ShuffleNetV2 block with a large depthwise kernel.

    The block starts with the channel shuffle, as in the authors' release, so that released weights fit.
    With stride 1, half of the channels bypass the convolutions. With stride 2, both branches convolve
    all channels, and the left branch keeps their number.

    Args:
        in_channels (int): Number of input channels.
        out_channels (int): Number of output channels.
        kernel_size (int): Kernel size of the depthwise convolutions. Defaults to 5.
        stride (int): Stride of the block, 1 or 2. Defaults to 1.
        depthwise_repeats (int): Number of consecutive depthwise convolutions, the first of which has the
            stride. Defaults to 1.
        shuffle (str): Which channels bypass the convolutions: the even ones with ``'even_odd'``, the first
            half after interleaving the two halves with ``'interleave'``. Defaults to ``'even_odd'``.
        norm_cfg (dict): Config of the normalisation after each convolution. Defaults to
            ``dict(type='BN')``.
        with_cp (bool): Whether to use gradient checkpointing, which saves memory and costs time.
            Defaults to False.
        init_cfg (dict, optional): Initialisation config. Defaults to None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 5,
        stride: int = 1,
        depthwise_repeats: int = 1,
        shuffle: str = 'even_odd',
        norm_cfg: ConfigType = dict(type='BN'),
        with_cp: bool = False,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        self.stride = stride
        self.shuffle = shuffle
        self.with_cp = with_cp
        mid_channels = out_channels // 2
        branch_in = in_channels if stride == 2 else in_channels // 2
        left_out = branch_in

        def pointwise(cin: int, cout: int) -> ConvModule:
            return ConvModule(cin, cout, 1, norm_cfg=norm_cfg)

        def depthwise(channels: int) -> List[ConvModule]:
            return [
                ConvModule(
                    channels,
                    channels,
                    kernel_size,
                    stride=stride if i == 0 else 1,
                    padding=kernel_size // 2,
                    groups=channels,
                    norm_cfg=norm_cfg,
                    act_cfg=None,
                )
                for i in range(depthwise_repeats)
            ]

        self.branch = nn.Sequential(
            pointwise(branch_in, mid_channels),
            *depthwise(mid_channels),
            pointwise(mid_channels, out_channels - left_out),
        )
        if stride == 2:
            self.branch_left = nn.Sequential(*depthwise(in_channels), pointwise(in_channels, left_out))

    def split(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """Split the channels in a block of stride 1.

        Args:
            x (Tensor): Features with shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor, Tensor]: The channels that bypass the convolutions and the channels that are
            convolved, both with shape (N, in_channels / 2, H, W).
        """
        if self.shuffle == 'interleave':
            return torch.channel_shuffle(x, 2).chunk(2, 1)
        return x[:, ::2], x[:, 1::2]

    def _forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            return torch.cat((self.branch_left(x), self.branch(x)), 1)
        bypass, convolved = self.split(x)
        return torch.cat((bypass, self.branch(convolved)), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block.

        Args:
            x (Tensor): Features with shape (N, in_channels, H, W).

        Returns:
            Tensor: Features with shape (N, out_channels, ceil(H / stride), ceil(W / stride)).
        """
        if self.with_cp and x.requires_grad:
            return cp.checkpoint(self._forward, x, use_reentrant=False)
        return self._forward(x)


@MODELS.register_module()
class SNet(BaseModule):
    """Backbone of `ThunderNet <https://arxiv.org/abs/1903.11752>`_, Table 1.

    ShuffleNetV2 with 5x5 depthwise convolutions. The paper's C4 and C5, with strides 16 and 32, are
    outputs 1 and 2; C5 is the output of Conv5 if there is one.

    Args:
        arch (str): ``'49'``, ``'146'`` or ``'535'``, the MMACs that the paper states. With the widths of
            Table 1, SNet146 has 162.5 MMACs; these widths are kept, since the authors' weights have
            them. Defaults to ``'49'``.
        stem_channels (int, optional): Number of stem channels, if not that of ``arch``. Defaults to None.
        stage_channels (Sequence[int], optional): Number of channels per stage, all even, if not those of
            ``arch``. Defaults to None.
        stage_repeats (Sequence[int]): Number of blocks per stage, including the block of stride 2. Defaults
            to (4, 8, 4).
        conv5_channels (int, optional): Number of Conv5 channels, if not that of ``arch``; 0 is without
            Conv5. Defaults to None.
        kernel_size (int): Kernel size of the depthwise convolutions, odd. Defaults to 5.
        depthwise_repeats (int): Number of consecutive depthwise convolutions instead of one. Defaults to 1.
        shuffle (str): Which channels bypass the convolutions of a block of stride 1: the even ones with
            ``'even_odd'``, as in the authors' release; the first half after interleaving the two halves
            with ``'interleave'``, as in DayBreak-u/Snet. The parameters have the same names and shapes,
            but the outputs differ. Defaults to ``'even_odd'``.
        in_channels (int): Number of image channels. Defaults to 3.
        out_indices (Sequence[int]): Stages to output: 0, 1, 2 have strides 8, 16, 32. Defaults to (1, 2).
        frozen_stages (int): Stages to freeze: 0 is the stem; n is the stem and the first n stages, with
            Conv5 as part of the third; -1 is none. Defaults to -1.
        norm_cfg (dict): Config of normalisation layers. Defaults to ``dict(type='BN')``.
        norm_eval (bool): Whether batch norm stays in eval mode, with fixed running statistics, during
            training. Defaults to False.
        with_cp (bool): Whether to use gradient checkpointing, which saves memory and costs time.
            Defaults to False.
        channels_last (bool): Whether to compute in the memory format ``torch.channels_last``, which is
            faster and equal up to rounding. Defaults to True.
        init_cfg (dict, optional): Initialisation config. Defaults to None, which means Kaiming normal for
            convolutions and constant 1 for normalisation layers.

    Raises:
        ValueError: If the arch is unknown or an argument is invalid.

    Example:
        >>> import torch
        >>> from mmthunder.models import SNet
        >>> [tuple(x.shape) for x in SNet('49').eval()(torch.rand(1, 3, 320, 320))]
        [(1, 120, 20, 20), (1, 512, 10, 10)]
    """

    # arch: (stem, (stage2, stage3, stage4), conv5)
    arch_settings = {
        '49': (24, (60, 120, 240), 512),
        '146': (24, (132, 264, 528), 0),
        '535': (48, (248, 496, 992), 0),
    }

    def __init__(
        self,
        arch: str = '49',
        stem_channels: Optional[int] = None,
        stage_channels: Optional[Sequence[int]] = None,
        stage_repeats: Sequence[int] = (4, 8, 4),
        conv5_channels: Optional[int] = None,
        kernel_size: int = 5,
        depthwise_repeats: int = 1,
        shuffle: str = 'even_odd',
        in_channels: int = 3,
        out_indices: Sequence[int] = (1, 2),
        frozen_stages: int = -1,
        norm_cfg: ConfigType = dict(type='BN'),
        norm_eval: bool = False,
        with_cp: bool = False,
        channels_last: bool = True,
        init_cfg: OptConfigType = None,
    ) -> None:
        super().__init__(
            init_cfg
            or [dict(type='Kaiming', layer='Conv2d'), dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm'])]
        )
        if str(arch) not in self.arch_settings:
            raise ValueError(
                f'SNet: unknown arch {arch!r}; use one of {list(self.arch_settings)}, and set '
                'stage_channels for other widths'
            )
        stem, stages, conv5 = self.arch_settings[str(arch)]
        stem = stem if stem_channels is None else stem_channels
        stages = tuple(stages if stage_channels is None else stage_channels)
        conv5 = conv5 if conv5_channels is None else conv5_channels
        if len(stages) != len(stage_repeats) or min(stage_repeats) < 1:
            raise ValueError(
                f'SNet: stage_repeats {tuple(stage_repeats)} must give at least one block to each '
                f'of the {len(stages)} stages of stage_channels {stages}'
            )
        if any(width % 2 for width in stages):
            raise ValueError(f'SNet: stage_channels {stages} must be even, since a block splits them in two')
        widths = (stem, *stages)
        if any(after <= before for before, after in zip(widths, widths[1:])):
            raise ValueError(
                f'SNet: stem_channels and stage_channels {widths} must grow from each to the next, since '
                'a block of stride 2 keeps the input width in one of its branches'
            )
        if kernel_size % 2 == 0:
            raise ValueError(f'SNet: kernel_size {kernel_size} must be odd to keep the map size')
        if depthwise_repeats < 1:
            raise ValueError(f'SNet: depthwise_repeats {depthwise_repeats} must be at least 1')
        if shuffle not in SHUFFLES:
            raise ValueError(f'SNet: unknown shuffle {shuffle!r}; use one of {list(SHUFFLES)}')
        if not out_indices or not set(out_indices) <= set(range(len(stages))):
            raise ValueError(f'SNet: out_indices {tuple(out_indices)} must be among {tuple(range(len(stages)))}')
        if not -1 <= frozen_stages <= len(stages):
            raise ValueError(f'SNet: frozen_stages {frozen_stages} must be from -1 to {len(stages)}')
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        # Depthwise convolutions and pooling are faster in channels_last, on CPU and CUDA.
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

        self.stem = nn.Sequential(
            ConvModule(in_channels, stem, 3, stride=2, padding=1, norm_cfg=norm_cfg),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        self.stages = nn.ModuleList()
        width = stem
        for channels, repeats in zip(stages, stage_repeats):
            blocks = []
            for i in range(repeats):
                blocks.append(
                    SNetBlock(
                        width,
                        channels,
                        kernel_size=kernel_size,
                        stride=2 if i == 0 else 1,
                        depthwise_repeats=depthwise_repeats,
                        shuffle=shuffle,
                        norm_cfg=norm_cfg,
                        with_cp=with_cp,
                    )
                )
                width = channels
            self.stages.append(nn.Sequential(*blocks))
        self.conv5 = ConvModule(width, conv5, 1, norm_cfg=norm_cfg) if conv5 else None
        self._freeze_stages()

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Compute the feature maps.

        Args:
            x (Tensor): Images with shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: One feature map for each of ``out_indices``; index i has stride 2 ** (i + 3).
        """
        x = self.stem(x.contiguous(memory_format=self.memory_format))
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if self.conv5 is not None and i == len(self.stages) - 1:
                x = self.conv5(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def _freeze_stages(self) -> None:
        parts = [self.stem, *self.stages][: self.frozen_stages + 1]
        if self.conv5 is not None and self.frozen_stages == len(self.stages):
            parts.append(self.conv5)
        for part in parts:
            part.eval()
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> 'SNet':
        """Set the mode; frozen stages, and batch norm with ``norm_eval``, stay in eval mode."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
