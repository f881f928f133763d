"""Context Enhancement Module of ThunderNet (paper section 3.2, Figure 3)."""

from typing import Sequence, Tuple

import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn


@MODELS.register_module()
class CEM(BaseModule):
    """Sums local, wider and global context into one feature map of stride 16.

    ``conv1x1(C4) + upsample(conv1x1(C5)) + conv1x1(global_average_pool(C5))``. The convolutions have
    biases, but no normalisation or activation. The paper does not state how C5 is upsampled; the
    authors' release uses nearest neighbour interpolation.

    Args:
        in_channels (Sequence[int]): Number of channels of C4 and C5.
        out_channels (int): Number of output channels, ``alpha * p * p`` for PSRoIAlign with p x p bins.
            Defaults to 245 (alpha 5, p 7).
        use_c4 (bool): Whether C4 is part of the sum. Defaults to True.
        use_c5 (bool): Whether the upsampled C5 is part of the sum. Defaults to True.
        use_glb (bool): Whether the global branch is part of the sum. Defaults to True.
        upsample_mode (str): ``mode`` of :func:`torch.nn.functional.interpolate`. Defaults to
            ``'nearest'``.
        init_cfg (dict): Initialisation config. Defaults to Xavier uniform.

    Raises:
        ValueError: If ``in_channels`` does not have two entries, if neither C4 nor C5 is used, or if the
            features have other channels.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 245,
        use_c4: bool = True,
        use_c5: bool = True,
        use_glb: bool = True,
        upsample_mode: str = 'nearest',
        init_cfg: OptMultiConfig = dict(type='Xavier', layer='Conv2d', distribution='uniform'),
    ) -> None:
        super().__init__(init_cfg)
        if len(in_channels) != 2:
            raise ValueError(
                f'CEM: in_channels {list(in_channels)} must be the channels of two levels, C4 and C5 '
                '(strides 16 and 32 pixels)'
            )
        if not (use_c4 or use_c5):
            raise ValueError('CEM: use_c4 and use_c5 are both False; the sum needs at least one of C4 and C5')
        self.in_channels = tuple(in_channels)
        self.out_channels = out_channels
        self.upsample_mode = upsample_mode
        c4, c5 = in_channels
        self.conv_c4 = nn.Conv2d(c4, out_channels, 1) if use_c4 else None
        self.conv_c5 = nn.Conv2d(c5, out_channels, 1) if use_c5 else None
        self.conv_glb = nn.Conv2d(c5, out_channels, 1) if use_glb else None

    def forward(self, feats: Tuple[Tensor, Tensor]) -> Tuple[Tensor]:
        """Sum the context features.

        Args:
            feats (tuple[Tensor]): C4 and C5 with shapes (N, in_channels[0], H, W) and
                (N, in_channels[1], ceil(H / 2), ceil(W / 2)).

        Returns:
            tuple[Tensor]: One feature map with shape (N, out_channels, H, W).
        """
        channels = tuple(feat.shape[1] for feat in feats)
        if channels != self.in_channels:
            raise ValueError(
                f'CEM: in_channels {list(self.in_channels)} do not fit the backbone, which gives '
                f'{len(feats)} levels with {list(channels)} channels; set neck.in_channels or the '
                "backbone's out_indices"
            )
        c4, c5 = feats
        maps = []
        if self.conv_c4 is not None:
            maps.append(self.conv_c4(c4))
        if self.conv_c5 is not None:
            maps.append(F.interpolate(self.conv_c5(c5), size=c4.shape[-2:], mode=self.upsample_mode))
        if self.conv_glb is not None:
            maps.append(self.conv_glb(F.adaptive_avg_pool2d(c5, 1)))
        out = maps[0]
        for other in maps[1:]:
            out = out + other
        return (out,)
