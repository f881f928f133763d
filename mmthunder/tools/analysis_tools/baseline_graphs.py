"""Graphs of the baselines, with the same input and output as the project's."""

import copy
from typing import Tuple

import torch
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmdet.models.dense_heads import SSDHead, YOLOXHead
from mmdet.models.detectors import SingleStageDetector
from torch import Tensor, nn

from mmthunder.export.nms import select_detections
from mmthunder.export.preprocess import fold_channel_order, preprocess


class TorchvisionGraph(nn.Module):
    """A detector of torchvision that takes images of its own input size as OpenCV reads them.

    Args:
        detector (nn.Module): The detector, in eval mode.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector
        self.eval()

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Detect objects in one image, (1, H, W, 3), uint8 and BGR: boxes (K, 4), scores (K, ), labels (K, )."""
        (result,) = self.detector([images[0].permute(2, 0, 1).flip(0).to(torch.float32) / 255])
        return result['boxes'], result['scores'], result['labels']


class SingleStageGraph(nn.Module):
    """YOLOX, RTMDet or SSD as one function from images to detections, as ``TwoStageGraph`` is for two stages.

    Args:
        detector (SingleStageDetector): The detector, in eval mode. It is copied, and batch norms fused.
    """

    def __init__(self, detector: SingleStageDetector) -> None:
        super().__init__()
        self.detector = copy.deepcopy(detector)
        for module in self.detector.modules():
            if isinstance(module, ConvModule):
                # RTMDet's levels share convolutions, but not the batch norms that become a part of them.
                module.conv = copy.deepcopy(module.conv)
        fuse_conv_bn(self.detector)
        fold_channel_order(self.detector)
        self.eval()

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Detect objects in images (N, H, W, 3), uint8 and BGR; see ``select_detections``."""
        head = self.detector.bbox_head
        outputs = head(self.detector.extract_feat(preprocess(self.detector.data_preprocessor, images)))
        sizes = [output.shape[-2:] for output in outputs[0]]
        is_ssd = isinstance(head, SSDHead)
        options = {} if is_ssd else dict(with_stride=True)
        priors = torch.cat(head.prior_generator.grid_priors(sizes, device=images.device, **options))
        # Logits of the classes, boxes and, in YOLOX, objectness, each with shape (N, P, ...).
        logits, boxes, *objectness = [
            torch.cat([level.permute(0, 2, 3, 1).reshape(len(images), -1, size) for level in levels], 1)
            for levels, size in zip(outputs, (head.cls_out_channels, 4, 1))
        ]
        scores = logits.softmax(-1)[..., :-1] if is_ssd else logits.sigmoid()
        if is_ssd:
            anchors = priors.repeat(len(images), 1)
            decoded = head.bbox_coder.decode(anchors, boxes.reshape(-1, 4), max_shape=images.shape[1:3])
            boxes = decoded.reshape(len(images), -1, 4)
        elif isinstance(head, YOLOXHead):
            # A box counts for its best class only.
            scores = scores * (scores == scores.amax(-1, keepdim=True)) * objectness[0].sigmoid()
            boxes = head._bbox_decode(priors, boxes)
        else:
            # mmdet clips RTMDet's boxes, and drops those of which nothing is left.
            height, width = images.shape[1:3]
            limits = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
            points = priors[:, :2].expand(len(images), -1, -1)
            boxes = torch.minimum(head.bbox_coder.decode(points, boxes).clamp(min=0), limits)
            scores = scores * (boxes[..., 2:] > boxes[..., :2]).all(-1, keepdim=True)
        cfg = head.test_cfg
        # YOLOX's config has no limit; RTMDet's is 300, SSDLite's 200.
        return select_detections(
            boxes, scores.transpose(1, 2), cfg.score_thr, cfg.nms.iou_threshold, cfg.get('max_per_img', 300)
        )
