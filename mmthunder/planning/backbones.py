"""The backbones of planned configs."""

from dataclasses import dataclass
from typing import Dict, Optional, Tuple

from mmengine.config import Config

from mmthunder import config_path, weights_path

from .require import require


@dataclass(frozen=True)
class Backbone:
    """A backbone that a config may have.

    Attributes:
        levels (dict[int, tuple[tuple[int], tuple[int]]]): By the stride of the finer map, 8 or 16: ``out_indices`` of
            that map and of the one of stride 32, and their channels.
        arch (str): The SNet, or none if there is a ``config``.
        weights (str, optional): Pretrained weights of this package.
        config (str, optional): A config of this package that has the backbone.
    """

    levels: Dict[int, Tuple[Tuple[int, int], Tuple[int, int]]]
    arch: str = ''
    weights: Optional[str] = None
    config: Optional[str] = None

    @property
    def pretrained(self) -> bool:
        """Whether it starts from pretrained weights, those of this package or of the config."""
        return bool(self.weights or self.config)

    def check(self) -> None:
        """Check that the weights and the packages are there.

        Raises:
            FileNotFoundError: If the weights are not.
            PlanningError: If a package is not.
        """
        if self.weights:
            weights_path(self.weights)
        if 'mmpretrain' in self.settings(16):
            require('mmpretrain', self.config, 'pretrain')

    def settings(self, stride: int) -> str:
        """Return the backbone's dict in a config whose finer map has a stride, as text."""
        indices, _ = self.levels[stride]
        if self.config:
            backbone = Config.fromfile(config_path(self.config), import_custom_modules=False).model.backbone.to_dict()
            return repr(dict(_delete_=True, **dict(backbone, out_indices=indices)))
        text = f'arch={self.arch!r}, out_indices={indices}'
        if self.weights:
            checkpoint = f"__import__('mmthunder').weights_path({self.weights!r})"
            text += f", init_cfg=dict(type='Pretrained', checkpoint={checkpoint})"
        return f'dict({text})'


def _snet(arch: str, c3: int, c4: int, c5: int, weights: Optional[str] = None) -> Backbone:
    return Backbone({8: ((0, 2), (c3, c5)), 16: ((1, 2), (c4, c5))}, arch, weights)


def _published(config: str, fine: Dict[int, Tuple[int, int]], last: Tuple[int, int]) -> Backbone:
    """A backbone with ImageNet weights; ``fine`` and ``last`` are pairs of index and channels."""
    levels = {stride: ((index, last[0]), (channels, last[1])) for stride, (index, channels) in fine.items()}
    return Backbone(levels, config=f'thundernet_{config}_4xb16-375k_coco')


BACKBONES = dict(
    snet49=_snet('49', 60, 120, 512),
    snet49_distilled=_snet('49', 60, 120, 512, weights='snet49_distilled'),
    snet146=_snet('146', 132, 264, 528),
    snet146_distilled=_snet('146', 132, 264, 528, weights='snet146_distilled'),
    snet535=_snet('535', 248, 496, 992),
    shufflenetv2_in1k=_published('shufflenetv2_in1k', {8: (0, 116), 16: (1, 232)}, (3, 1024)),
    mobilenetv2_in1k=_published('mobilenetv2_in1k', {8: (2, 32), 16: (4, 96)}, (7, 1280)),
)
