"""DetNet, a backbone designed for object detection (paper Figure 2)."""

import re
from typing import List, Optional, Sequence

from mmcv.cnn import build_conv_layer, build_norm_layer
from mmdet.models.backbones import ResNet
from mmdet.models.backbones.resnet import Bottleneck
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from mmengine.runner import CheckpointLoader
from torch import nn


def _is_pretrained(init_cfg: OptMultiConfig) -> bool:
    """Whether an init config loads a checkpoint."""
    return isinstance(init_cfg, dict) and init_cfg['type'] in ('Pretrained', PretrainedInit)


@MODELS.register_module()
class DetNet(ResNet):
    """Backbone of `DetNet <https://arxiv.org/abs/1804.06215>`_, Figure 2 D.

    ResNet up to the paper's stage 4, followed by stages 5 and 6, which keep stride 16 and 1024
    channels and enlarge the receptive field with 3x3 convolutions of dilation 2. Each of the two
    consists of a bottleneck with a 1x1 projection shortcut (block B of Figure 2) and two with an
    identity shortcut (block A).

    Parameters are named as in ResNet, which counts from the first residual stage: the paper's stage 1
    is ``conv1`` and ``bn1``, its stage s is ``layer{s - 1}`` and output s - 2.

    Args:
        depth (int): 59 (stages 1 to 4 of ResNet-50) or 110 (of ResNet-101). Defaults to 59.
        in_channels (int): Number of image channels. Defaults to 3.
        base_channels (int): Number of stem channels, which all other widths are proportional to.
            Defaults to 64.
        num_stages (int): Number of residual stages: 5, or 4 without the paper's stage 6. Defaults to 5.
        out_indices (Sequence[int], optional): Stages to output: 0, 1, 2, 3, 4 are the paper's stages 2
            to 6 with strides 4, 8, 16, 16, 16. Defaults to None, which means all.
        style (str): Which convolution of a block has stride 2: the first 1x1 one with ``'caffe'``, as the
            paper's 4.8 GFLOPs imply; the 3x3 one with ``'pytorch'``, as in the public weights of
            DetNet-59 and torchvision's of ResNet. Defaults to ``'pytorch'``.
        frozen_stages (int): Stages to freeze, as in ResNet: 0 is the stem, the paper's stage 1; n is the
            stem and the first n residual stages; -1 is none. Defaults to -1.
        conv_cfg (dict, optional): Config of convolution layers. Defaults to None, which means Conv2d.
        norm_cfg (dict): Config of normalisation layers. Defaults to
            ``dict(type='BN', requires_grad=True)``.
        norm_eval (bool): Whether batch norm stays in eval mode, with fixed running statistics, during
            training. Defaults to True.
        with_cp (bool): Whether to use gradient checkpointing, which saves memory and costs time.
            Defaults to False.
        zero_init_residual (bool): Whether to initialise the last normalisation layer of each block with
            scale 0, so that the block starts as its shortcut. Ignored if ``norm_cfg`` has
            ``requires_grad=False``, since the block would stay so. Defaults to True.
        stage6_projection (bool): Whether the paper's stage 6 starts with block B. With False it starts
            with block A, which is the paper's DetNet-59-NoProj. Defaults to True.
        init_cfg (dict | list[dict], optional): Initialisation config. ``dict(type='Pretrained',
            checkpoint=...)`` loads the stages of which the checkpoint has all weights in the right
            shape, logs which these are, and initialises the others at random. Defaults to None, which
            is ResNet's random initialisation.

    Raises:
        ValueError: If an argument is invalid or, in :meth:`init_weights`, if the checkpoint fits no
            stage or has to be converted first.

    Example:
        >>> import torch
        >>> from mmthunder.models import DetNet
        >>> [tuple(x.shape) for x in DetNet(59)(torch.rand(1, 3, 64, 64))]
        [(1, 256, 16, 16), (1, 512, 8, 8), (1, 1024, 4, 4), (1, 1024, 4, 4), (1, 1024, 4, 4)]
    """

    # depth: (block, number of blocks per residual stage)
    arch_settings = {59: (Bottleneck, (3, 4, 6, 3, 3)), 110: (Bottleneck, (3, 4, 23, 3, 3))}

    def __init__(
        self,
        depth: int = 59,
        in_channels: int = 3,
        base_channels: int = 64,
        num_stages: int = 5,
        out_indices: Optional[Sequence[int]] = None,
        style: str = 'pytorch',
        frozen_stages: int = -1,
        conv_cfg: OptConfigType = None,
        norm_cfg: ConfigType = dict(type='BN', requires_grad=True),
        norm_eval: bool = True,
        with_cp: bool = False,
        zero_init_residual: bool = True,
        stage6_projection: bool = True,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        out_indices = tuple(range(num_stages)) if out_indices is None else tuple(out_indices)
        if depth not in self.arch_settings:
            raise ValueError(f'DetNet: unknown depth {depth!r}; use one of {list(self.arch_settings)}')
        if num_stages not in (4, 5):
            raise ValueError(f'DetNet: num_stages {num_stages} must be 5, or 4 to leave out the stage 6 of the paper')
        if not stage6_projection and num_stages < 5:
            raise ValueError('DetNet: stage6_projection=False needs num_stages=5, since there is no stage 6 without it')
        if not out_indices or not set(out_indices) <= set(range(num_stages)):
            raise ValueError(f'DetNet: out_indices {out_indices} must be among {tuple(range(num_stages))}')
        if not -1 <= frozen_stages <= num_stages:
            raise ValueError(f'DetNet: frozen_stages {frozen_stages} must be from -1 to {num_stages}')
        if style not in ('pytorch', 'caffe'):
            raise ValueError(
                f"DetNet: unknown style {style!r}; use 'pytorch' (stride in the 3x3 convolution) or "
                "'caffe' (stride in the first 1x1 convolution)"
            )
        # ResNet builds the first three residual stages; its fourth has stride 32 and other widths.
        super().__init__(
            depth,
            in_channels=in_channels,
            base_channels=base_channels,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(0,),
            style=style,
            conv_cfg=conv_cfg,
            norm_cfg=norm_cfg,
            norm_eval=norm_eval,
            stage_with_dcn=(False, False, False),
            with_cp=with_cp,
            zero_init_residual=zero_init_residual and norm_cfg.get('requires_grad', True),
            # ResNet's own initialisation is for the stages that a checkpoint does not fill.
            init_cfg=None if _is_pretrained(init_cfg) else init_cfg,
        )
        if _is_pretrained(init_cfg):
            self.init_cfg.append(init_cfg)
        self.num_stages = num_stages
        self.out_indices = out_indices
        self.strides = (1, 2, 2, 1, 1)[:num_stages]
        self.dilations = (1, 1, 1, 2, 2)[:num_stages]
        self.stage_blocks = self.arch_settings[depth][1][:num_stages]
        for i in range(3, num_stages):
            self._add_dilated_stage(i, projection=i == 3 or stage6_projection)
        self.frozen_stages = frozen_stages
        self._freeze_stages()

    def _add_dilated_stage(self, index: int, projection: bool) -> None:
        """Add a stage of dilated bottlenecks that keep the shape of their input.

        Args:
            index (int): 3 for the paper's stage 5, 4 for its stage 6.
            projection (bool): Whether the first block has a 1x1 projection shortcut.
        """
        layer = self.make_res_layer(
            block=self.block,
            inplanes=self.inplanes,
            planes=self.inplanes // self.block.expansion,
            num_blocks=self.stage_blocks[index],
            dilation=self.dilations[index],
            style=self.style,
            with_cp=self.with_cp,
            conv_cfg=self.conv_cfg,
            norm_cfg=self.norm_cfg,
            # As ResNet initialises its blocks.
            init_cfg=self.layer3[-1].init_cfg,
        )
        if projection:
            # ResLayer adds a projection only where the shape changes.
            layer[0].downsample = nn.Sequential(
                build_conv_layer(self.conv_cfg, self.inplanes, self.inplanes, kernel_size=1, bias=False),
                build_norm_layer(self.norm_cfg, self.inplanes)[1],
            )
        self.add_module(f'layer{index + 1}', layer)
        self.res_layers.append(f'layer{index + 1}')

    def init_weights(self) -> None:
        """Initialise the weights; a checkpoint is loaded stage by stage, see ``init_cfg`` of the class."""
        init_cfg = self.init_cfg
        init_cfgs: List[dict] = init_cfg if isinstance(init_cfg, list) else [init_cfg]
        pretrained = [cfg for cfg in init_cfgs if _is_pretrained(cfg)]
        if not pretrained or self.is_init:
            super().init_weights()
            return
        # mmengine would load every tensor that happens to fit and list hundreds of others in warnings.
        self.init_cfg = [cfg for cfg in init_cfgs if not _is_pretrained(cfg)]
        super().init_weights()
        self.init_cfg = init_cfg
        for cfg in pretrained:
            self._load_stages(cfg['checkpoint'], cfg.get('prefix'), cfg.get('map_location', 'cpu'))

    def _load_stages(self, checkpoint: str, prefix: Optional[str], map_location: str) -> None:
        """Load the stages of which a checkpoint has all weights in the right shape, and log which these are.

        Args:
            checkpoint (str): Path or URL of a state dict or of a checkpoint with the key ``state_dict``.
            prefix (str, optional): Prefix of the backbone's keys in the checkpoint.
            map_location (str): Device to load the checkpoint to.
        """
        loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location=map_location, logger='current')
        loaded = {re.sub(r'^module\.', '', key): value for key, value in loaded.get('state_dict', loaded).items()}
        if prefix:
            prefix = prefix.rstrip('.') + '.'
            loaded = {key[len(prefix) :]: value for key, value in loaded.items() if key.startswith(prefix)}
        if any('.extra_conv.' in key for key in loaded):
            # Stages 1 to 4 would load, which would hide that stages 5 and 6 stay random.
            raise ValueError(
                f'DetNet: {checkpoint} has the layout of the public detnet59.pth; convert it with '
                f'python tools/model_converters/convert.py {checkpoint} NEW_FILE and load the new file'
            )

        own = {key: tuple(value.shape) for key, value in self.state_dict().items()}
        found = {key: tuple(getattr(value, 'shape', ())) for key, value in loaded.items()}
        fill, filled, random = {}, [], []
        for stage, names in enumerate([('conv1', self.norm1_name), *((name,) for name in self.res_layers)], 1):
            keys = [key for key in own if key.split('.')[0] in names]
            # Checkpoints from before torch 0.4.1 have no num_batches_tracked.
            misfits = [key for key in keys if not key.endswith('num_batches_tracked') and found.get(key) != own[key]]
            if misfits:
                key = misfits[0]
                shape = f'has shape {found[key]} in the file and {own[key]} here' if key in found else 'is missing'
                random.append(f'{stage} ({key} {shape})')
            else:
                filled.append(str(stage))
                fill.update((key, loaded[key]) for key in keys if key in loaded)
        if not filled:
            raise ValueError(
                f'DetNet: {checkpoint} fills no stage of DetNet-{self.depth}: stage {random[0]}; its keys '
                f'begin with {list(found)[:3]}; give weights of ResNet or DetNet, and init_cfg.prefix if '
                'they are a part of a larger model'
            )
        self.load_state_dict(fill, strict=False)
        unused = sorted({key.split('.')[0] for key in found if key not in fill})
        print_log(
            f'DetNet-{self.depth} from {checkpoint}: stages filled: {", ".join(filled)}; stages that stay random: '
            f'{", ".join(random) or "none"}; unused in the file: {", ".join(unused) or "nothing"}',
            logger='current',
        )
