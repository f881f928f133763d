"""Checks that a detector can be exported; errors name the module or the setting."""

from mmcv.ops import RoIAlign
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.dense_heads import RPNHead
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead, ConvFCBBoxHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules import DeltaXYWHBBoxCoder
from torch import nn

from mmthunder.apis import nms_type
from mmthunder.models.backbones.snet import SNet
from mmthunder.models.detectors import ThunderNet
from mmthunder.models.layers import PSRoIAlign
from mmthunder.models.roi_heads import PSRoIExtractor

# Keys of soft-NMS, which greedy NMS of the same IoU threshold replaces, and those that do not change the result.
NMS_KEYS = {'type', 'iou_threshold', 'class_agnostic', 'split_thr', 'sigma', 'min_score', 'method'}


def _check_nms(detector: TwoStageDetector) -> None:
    """Refuse NMS other than per-class NMS, which also replaces soft-NMS."""
    for cfg, place in ((detector.rpn_head.test_cfg, 'rpn'), (detector.roi_head.test_cfg, 'rcnn')):
        nms = cfg.get('nms')
        known = nms is not None and nms_type(cfg) in ('nms', 'soft_nms') and 'iou_threshold' in nms
        if not known or nms.get('class_agnostic', False) or not set(nms) <= NMS_KEYS:
            raise NotImplementedError(
                f'export: test_cfg.{place}.nms is {nms and dict(nms)}; exported detectors have NMS of each class, '
                "dict(type='nms', iou_threshold=...)"
            )
    if nms_type(detector.rpn_head.test_cfg) != 'nms':
        raise NotImplementedError("export: test_cfg.rpn.nms is soft-NMS; exported detectors have type='nms' there")
    count = detector.rpn_head.test_cfg.max_per_img
    if count < 1:
        raise NotImplementedError(
            f'export: test_cfg.rpn.max_per_img is {count}, but an exported detector has a fixed number of proposals; '
            'set a positive number'
        )


def _check_roi_head(roi_head: StandardRoIHead) -> None:
    """Refuse heads and extractors without an equivalent in the graph."""
    extractor, head = roi_head.bbox_roi_extractor, roi_head.bbox_head
    layer = extractor.roi_layers[0]
    known = isinstance(extractor, PSRoIExtractor) and isinstance(layer, PSRoIAlign)
    known |= isinstance(extractor, SingleRoIExtractor) and isinstance(layer, RoIAlign) and layer.pool_mode == 'avg'
    if not known:
        raise NotImplementedError(
            f'export: {type(extractor).__name__} with {layer} has no equivalent in ONNX; use '
            'PSRoIExtractor with PSRoIAlign, or SingleRoIExtractor with average RoIAlign'
        )
    if type(head)._predict_by_feat_single is not BBoxHead._predict_by_feat_single:
        raise NotImplementedError(
            f'export: model.roi_head.bbox_head is a {type(head).__name__}, which decodes its own way'
        )
    if head.custom_cls_channels:
        raise NotImplementedError(
            f'export: model.roi_head.bbox_head.loss_cls is {type(head.loss_cls).__name__} with an activation of its '
            'own; exported detectors have softmax'
        )
    if not head.with_reg:
        raise NotImplementedError(
            'export: model.roi_head.bbox_head has with_reg=False; exported detectors refine boxes'
        )


def check_onnx(detector: nn.Module) -> None:
    """Refuse detectors that :class:`~mmthunder.export.TwoStageGraph` cannot express.

    Raises:
        NotImplementedError: If a part has no equivalent in ONNX, or there is more than boxes.
        ValueError: If ``dataset_meta`` has another number of classes than the detector.
    """
    roi_head = getattr(detector, 'roi_head', None)
    # Others, such as the double head, predict in another way; those that only train in another way do not matter.
    known = isinstance(detector, TwoStageDetector) and isinstance(roi_head, StandardRoIHead)
    if not known or any(
        getattr(type(roi_head), name) is not getattr(StandardRoIHead, name)
        for name in ('predict', 'predict_bbox', '_bbox_forward')
    ):
        raise NotImplementedError(
            f'export: {type(detector).__name__} with roi_head {type(roi_head).__name__} is not a two-stage detector '
            "with mmdet's StandardRoIHead; export a ThunderNet or a Faster R-CNN"
        )
    if detector.roi_head.with_mask:
        raise NotImplementedError(
            'export: the graph gives boxes, and this detector has a mask head; set model.roi_head.mask_head=None'
        )
    rpn = detector.rpn_head
    if type(rpn)._predict_by_feat_single is not RPNHead._predict_by_feat_single:
        raise NotImplementedError(
            f'export: model.rpn_head is a {type(rpn).__name__}; exported detectors have an RPNHead'
        )
    if not isinstance(detector.data_preprocessor, DetDataPreprocessor):
        raise NotImplementedError(
            f'export: model.data_preprocessor is a {type(detector.data_preprocessor).__name__}; exported detectors '
            'have a DetDataPreprocessor'
        )
    _check_nms(detector)
    _check_roi_head(detector.roi_head)
    classes, count = getattr(detector, 'dataset_meta', {}).get('classes'), detector.roi_head.bbox_head.num_classes
    if classes is not None and len(classes) != count:
        raise ValueError(
            f'export: dataset_meta has {len(classes)} classes, but model.roi_head.bbox_head.num_classes is {count}; '
            'give a checkpoint whose dataset_meta has the classes, or the config of its training'
        )


def check_ncnn(detector: nn.Module) -> None:
    """Refuse detectors that :func:`~mmthunder.export.ncnn_files.export_ncnn` cannot express.

    Raises:
        NotImplementedError: If the detector is not a ThunderNet of an SNet and a fully connected head, or decodes
            boxes in another way than :mod:`mmthunder.runtime.two_stage`.
        ValueError: As :func:`check_onnx`.
    """
    head = getattr(getattr(detector, 'roi_head', None), 'bbox_head', None)
    known = isinstance(detector, ThunderNet) and isinstance(detector.backbone, SNet)
    known = known and isinstance(head, ConvFCBBoxHead) and detector.rpn_head.use_sigmoid_cls
    if (
        not known
        or head.num_shared_fcs == 0
        or any((head.num_shared_convs, head.num_cls_convs, head.num_cls_fcs, head.num_reg_convs, head.num_reg_fcs))
    ):
        raise NotImplementedError(
            'export: ncnn takes a ThunderNet with an SNet, a sigmoid RPN and a head of shared '
            'fully connected layers; use tools/deployment/export_onnx.py for others'
        )
    check_onnx(detector)
    for coder, name in ((detector.rpn_head.bbox_coder, 'rpn_head'), (head.bbox_coder, 'roi_head.bbox_head')):
        if type(coder).decode is not DeltaXYWHBBoxCoder.decode or not coder.clip_border or coder.add_ctr_clamp:
            raise NotImplementedError(
                f'export: model.{name}.bbox_coder is not of the kind that ncnn takes: '
                'DeltaXYWHBBoxCoder with clip_border=True and add_ctr_clamp=False'
            )
