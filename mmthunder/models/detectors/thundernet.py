"""The ThunderNet detector."""

from typing import Optional, Tuple

import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from torch import Tensor, nn


def _float32_outputs(module: nn.Module, inputs: tuple, outputs: Tuple[Optional[Tensor], ...]) -> tuple:
    """Cast the 16-bit outputs of a module to float32, as a forward hook; None stays None."""
    return tuple(out if out is None else out.to(torch.promote_types(out.dtype, torch.float32)) for out in outputs)


@MODELS.register_module()
class ThunderNet(TwoStageDetector):
    """`ThunderNet <https://arxiv.org/abs/1903.11752>`_: a lightweight two-stage detector.

    The RoI head pools its features from the neck's feature map after spatial attention, which is computed
    from the output of the RPN's trunk.

    Args:
        backbone (dict): Config of the backbone.
        neck (dict): Config of the neck, which outputs one feature map.
        rpn_head (dict): Config of the RPN head, which has a ``trunk``, such as :class:`LightRPNHead`.
        roi_head (dict): Config of the RoI head.
        train_cfg (dict): Training settings.
        test_cfg (dict): Test settings.
        sam (dict, optional): Config of the spatial attention module. Defaults to None, which means no
            spatial attention.
        data_preprocessor (dict, optional): Config of the data preprocessor. Defaults to None.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Raises:
        ValueError: If the channels, bins or strides of the components do not match.
    """

    def __init__(
        self,
        backbone: ConfigType,
        neck: ConfigType,
        rpn_head: ConfigType,
        roi_head: ConfigType,
        train_cfg: ConfigType,
        test_cfg: ConfigType,
        sam: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            neck=neck,
            rpn_head=rpn_head,
            roi_head=roi_head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.sam = MODELS.build(sam) if sam is not None else None
        self._check_fit()
        # Also under autocast: mmcv's soft-NMS does not support bfloat16.
        self.roi_head.bbox_head.register_forward_hook(_float32_outputs)

    def _check_fit(self) -> None:
        """Check that the components match, since the first forward pass would fail less clearly."""
        extractor = self.roi_head.bbox_roi_extractor
        bins = extractor.roi_layers[0].output_size
        pairs = [
            ('rpn_head.in_channels', self.rpn_head.in_channels, 'neck.out_channels', self.neck.out_channels),
            (
                'bbox_roi_extractor.out_channels times the bins',
                extractor.out_channels * bins[0] * bins[1],
                'neck.out_channels',
                self.neck.out_channels,
            ),
            (
                'bbox_head.in_channels',
                self.roi_head.bbox_head.in_channels,
                'bbox_roi_extractor.out_channels',
                extractor.out_channels,
            ),
            (
                'bbox_head.roi_feat_size',
                tuple(self.roi_head.bbox_head.roi_feat_size),
                'roi_layer.output_size',
                tuple(bins),
            ),
            (
                'bbox_roi_extractor.featmap_strides',
                extractor.featmap_strides[0],
                'anchor_generator.strides',
                self.rpn_head.prior_generator.strides[0][0],
            ),
        ]
        if self.sam is not None:
            pairs += [
                ('sam.in_channels', self.sam.in_channels, 'rpn_head.feat_channels', self.rpn_head.feat_channels),
                ('sam.out_channels', self.sam.out_channels, 'neck.out_channels', self.neck.out_channels),
            ]
        for name, value, other_name, other in pairs:
            if value != other:
                raise ValueError(f'ThunderNet: {name} is {value}, but {other_name} is {other}; make them equal')

    def extract_feat(self, batch_inputs: Tensor) -> Tuple[Tensor, Tensor]:
        """Extract features.

        Args:
            batch_inputs (Tensor): Images with shape (N, 3, H, W).

        Returns:
            tuple[Tensor, Tensor]: The feature map for the RoI head with shape (N, alpha * p * p, H / 16,
            W / 16), and the output of the RPN's trunk with shape (N, feat_channels, H / 16, W / 16). The
            RoI head uses the first, :class:`LightRPNHead` the last.

        Raises:
            ValueError: If the neck outputs more than one feature map.
        """
        feats = self.neck(self.backbone(batch_inputs))
        if len(feats) != 1:
            raise ValueError(
                f'ThunderNet: the neck {type(self.neck).__name__} outputs {len(feats)} feature maps, but RPN and '
                'RoI head take one; use a neck with one output, such as CEM'
            )
        (feat,) = feats
        rpn_feat = self.rpn_head.trunk(feat)
        if self.sam is not None:
            feat = self.sam(feat, rpn_feat)
        return feat, rpn_feat
