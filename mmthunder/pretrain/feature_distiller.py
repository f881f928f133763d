"""Pretraining a backbone to predict what a teacher computed from the same views."""

from typing import Dict, Sequence, Union

import torch.nn.functional as F
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn


class FeatureDistiller(BaseModel):
    """A backbone and the projections of its maps to those of a teacher.

    The loss of a map is the mean squared error between a 1x1 convolution of the backbone's map and the teacher's,
    standardised by channel within the batch (Miles and Mikolajczyk, `Understanding the Role of the Projector in
    Knowledge Distillation <https://arxiv.org/abs/2303.11098>`_). The loss of the logits is the cross entropy between
    the teacher's softmax and that of a linear layer on the average of the backbone's last map.

    Args:
        backbone (dict): Config of the backbone.
        in_channels (Sequence[int]): Numbers of channels of the backbone's maps.
        teacher_channels (Dict[str, int]): Numbers of channels of the teacher's maps, by their names in the data, in
            the order of the backbone's maps. The last map of the backbone learns the logits only.
        num_classes (int): Number of the teacher's classes. Defaults to 1000.
        data_preprocessor (dict, optional): Config of the preprocessor. Defaults to None.
        init_cfg (dict, optional): Initialisation config. Defaults to None.
    """

    def __init__(
        self,
        backbone: ConfigType,
        in_channels: Sequence[int],
        teacher_channels: Dict[str, int],
        num_classes: int = 1000,
        data_preprocessor: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.projections = nn.ModuleDict(
            {name: nn.Conv2d(cin, cout, 1) for cin, (name, cout) in zip(in_channels, teacher_channels.items())}
        )
        self.classifier = nn.Linear(in_channels[-1], num_classes)

    def forward(
        self, inputs: Tensor, data_samples: None = None, mode: str = 'tensor', **targets: Tensor
    ) -> Union[tuple, Dict[str, Tensor]]:
        """Compute the backbone's maps or the losses.

        Args:
            inputs (Tensor): Normalised views with shape (N, 3, H, W).
            data_samples (None): Unused; there are no labels.
            mode (str): ``'tensor'`` or ``'loss'``. Defaults to ``'tensor'``.
            **targets (Tensor): The teacher's maps with shape (N, C, h, w), those of the backbone at the same place,
                and its ``logits`` with shape (N, num_classes).

        Returns:
            tuple[Tensor] | dict[str, Tensor]: The backbone's maps, or a loss for each map and for the logits.
        """
        maps = self.backbone(inputs)
        if mode != 'loss':
            return maps
        losses = {}
        for x, (name, projection) in zip(maps, self.projections.items()):
            target = F.batch_norm(targets[name].float(), None, None, training=True)
            losses[f'loss_{name}'] = F.mse_loss(projection(x), target)
        logits = self.classifier(maps[-1].mean((2, 3)))
        losses['loss_logits'] = F.cross_entropy(logits, targets['logits'].float().softmax(1))
        return losses
