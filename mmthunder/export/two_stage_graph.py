"""A two-stage detector as one exportable function from images to detections."""

import copy
from typing import Sequence, Tuple

import torch
from mmcv.cnn import fuse_conv_bn
from mmdet.models.detectors import TwoStageDetector
from torch import Tensor, nn

from mmthunder.models.backbones import SNet

from .nms import nms_mask, select_detections, top_k
from .preprocess import fold_channel_order, preprocess
from .roi_features import roi_features
from .supported import check_onnx
from .unshuffled_stage import UnshuffledStage

# A logit that no anchor has: it stands for anchors that a small map does not have.
NO_ANCHOR = -1e6


class TwoStageGraph(nn.Module):
    """Everything between a resized image and its detections, with shapes that do not depend on values.

    The feature maps, heads, anchors and box decoding are the detector's own modules; proposals and
    detections, which mmdet keeps in lists of varying length, are padded tensors here, so that a batch
    stays a batch. NMS is greedy NMS, whatever NMS the detector has: ONNX has no soft-NMS.

    Args:
        detector (TwoStageDetector): A ThunderNet or a Faster R-CNN in eval mode. It is copied; in the
            copy each batch norm is a part of the convolution before it.

    Raises:
        NotImplementedError: If the detector cannot be exported (:func:`~mmthunder.export.supported.check_onnx`).
    """

    def __init__(self, detector: TwoStageDetector) -> None:
        super().__init__()
        check_onnx(detector)
        self.detector = fuse_conv_bn(copy.deepcopy(detector))
        fold_channel_order(self.detector)
        if isinstance(detector.backbone, SNet):
            stages = self.detector.backbone.stages
            for i, stage in enumerate(stages):
                # Other norms than batch norm stay, and some of them mix neighbouring channels.
                if all(module.bias is not None for module in stage.modules() if isinstance(module, nn.Conv2d)):
                    stages[i] = UnshuffledStage(stage)
        self.eval()

    def propose(self, feats: Sequence[Tensor], limits: Tensor) -> Tuple[Tensor, Tensor]:
        """Turn the RPN's outputs into proposals.

        Args:
            feats (Sequence[Tensor]): What the detector's ``extract_feat`` returns.
            limits (Tensor): Width, height, width, height of the images, in pixels, with shape (4, ).

        Returns:
            tuple[Tensor, Tensor]: Boxes (N, R, 4) by descending score, and whether each is a proposal, not padding,
            (N, R).
        """
        head, cfg = self.detector.rpn_head, self.detector.rpn_head.test_cfg
        cls_scores, bbox_preds = head(feats)
        num_imgs = cls_scores[0].shape[0]
        priors = head.prior_generator.grid_priors(
            [score.shape[-2:] for score in cls_scores], device=cls_scores[0].device
        )
        level_boxes, level_scores, level_ids = [], [], []
        for level, (score, deltas, anchors) in enumerate(zip(cls_scores, bbox_preds, priors)):
            score = score.permute(0, 2, 3, 1).reshape(num_imgs, -1, head.cls_out_channels)
            deltas = deltas.permute(0, 2, 3, 1).reshape(-1, 4)
            score = score.squeeze(-1) if head.use_sigmoid_cls else score.softmax(-1)[..., 0]
            count = score.shape[1]
            if cfg.get('nms_pre', -1) > 0:
                score, index = top_k(score, cfg.nms_pre, NO_ANCHOR)
                first = torch.arange(num_imgs, device=index.device)[:, None] * count
                anchors, deltas = anchors[index].reshape(-1, 4), deltas[(index + first).reshape(-1)]
            else:
                anchors = anchors.expand(num_imgs, -1, 4).reshape(-1, 4)
            boxes = head.bbox_coder.decode(anchors, deltas).reshape(num_imgs, -1, 4)
            level_boxes.append(self._clip(boxes, head, limits))
            probability = score.sigmoid() if head.use_sigmoid_cls else score
            level_scores.append(torch.where(score > NO_ANCHOR, probability, -1.0))
            level_ids.append(torch.full_like(boxes[0, :, 0], level))
        boxes, scores = torch.cat(level_boxes, 1), torch.cat(level_scores, 1)

        # Scores are at least 0; -1 keeps a box out of the NMS.
        if cfg.get('min_bbox_size', -1) >= 0:
            sizes = boxes[..., 2:] - boxes[..., :2]
            scores = torch.where((sizes > cfg.min_bbox_size).all(-1), scores, -1.0)
        by_level = scores[:, None]
        if len(level_boxes) > 1:
            levels = torch.arange(len(level_boxes), device=boxes.device).to(boxes.dtype)
            by_level = torch.where(torch.cat(level_ids) == levels[:, None], by_level, -1.0)
        keep = nms_mask(boxes, by_level, cfg.nms.iou_threshold, -0.5, cfg.max_per_img)
        keep = keep.any(1) if len(level_boxes) > 1 else keep[:, 0]
        scores, index = top_k(torch.where(keep, scores, -1.0), cfg.max_per_img, -1.0)
        return boxes.gather(1, index[..., None].expand(-1, -1, 4)), scores >= 0

    def classify(self, feats: Sequence[Tensor], proposals: Tensor, limits: Tensor) -> Tuple[Tensor, Tensor]:
        """Score the proposals and refine their boxes.

        Args:
            feats (Sequence[Tensor]): What the detector's ``extract_feat`` returns.
            proposals (Tensor): Boxes with shape (N, R, 4).
            limits (Tensor): As for :meth:`propose`.

        Returns:
            tuple[Tensor, Tensor]: Boxes, (N, R, 4), or (N, C, R, 4) if each class has its own, and
            scores (N, C, R).
        """
        roi_head = self.detector.roi_head
        extractor, head = roi_head.bbox_roi_extractor, roi_head.bbox_head
        num_imgs, num_rois = proposals.shape[:2]
        features = roi_features(extractor, feats[: extractor.num_inputs], proposals)
        if roi_head.with_shared_head:
            features = roi_head.shared_head(features)
        cls_score, bbox_pred = head(features)
        scores = cls_score.softmax(-1).reshape(num_imgs, num_rois, -1)[..., : head.num_classes].transpose(1, 2)
        num_boxes = 1 if head.reg_class_agnostic else head.num_classes
        rois = proposals[:, :, None].expand(num_imgs, num_rois, num_boxes, 4).reshape(-1, 4)
        boxes = self._clip(head.bbox_coder.decode(rois, bbox_pred.reshape(-1, 4)), head, limits)
        if head.reg_class_agnostic:
            return boxes.reshape(num_imgs, num_rois, 4), scores
        return boxes.reshape(num_imgs, num_rois, num_boxes, 4).transpose(1, 2), scores

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Detect objects.

        Args:
            images (Tensor): Resized images with shape (N, H, W, C), in BGR or grayscale, uint8 or float32.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Boxes (N, M, 4), scores (N, M) and labels (N, M) of the M best
            detections, as :func:`select_detections` gives them; boxes are in pixels of ``images``.
        """
        height, width = images.shape[1:3]
        limits = torch.tensor([width, height, width, height], dtype=torch.float32, device=images.device)
        feats = self.detector.extract_feat(preprocess(self.detector.data_preprocessor, images))
        proposals, valid = self.propose(feats, limits)
        boxes, scores = self.classify(feats, proposals, limits)
        cfg = self.detector.roi_head.test_cfg
        return select_detections(boxes, scores * valid[:, None], cfg.score_thr, cfg.nms.iou_threshold, cfg.max_per_img)

    @staticmethod
    def _clip(boxes: Tensor, head: nn.Module, limits: Tensor) -> Tensor:
        """Clip boxes to the image where the head's coder would; its own clipping writes in place."""
        return torch.minimum(boxes.clamp(min=0), limits) if head.bbox_coder.clip_border else boxes
