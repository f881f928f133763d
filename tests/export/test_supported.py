"""What cannot be exported is refused with the name of the module or the setting."""

import copy

import pytest
from mmdet.models.data_preprocessors import BatchFixedSizePad, DetDataPreprocessor
from mmdet.models.dense_heads import RPNHead
from mmdet.models.losses import SeesawLoss
from mmdet.models.roi_heads import DoubleHeadRoIHead, PISARoIHead
from mmdet.models.roi_heads.bbox_heads import SABLHead
from mmdet.models.task_modules import LegacyDeltaXYWHBBoxCoder
from mmengine.model import BaseDataPreprocessor
from torch import nn
from torchvision.ops import nms

from mmthunder.apis import nms_type
from mmthunder.export.supported import check_ncnn, check_onnx


@pytest.fixture
def detector(make_detector):
    return make_detector()


def test_supported(detector, faster_rcnn):
    for supported in (detector, faster_rcnn):
        check_onnx(supported)
    check_ncnn(detector)
    with pytest.raises(NotImplementedError, match='ncnn takes a ThunderNet'):
        check_ncnn(faster_rcnn)
    with pytest.raises(NotImplementedError, match='ncnn takes a ThunderNet'):
        check_ncnn(detector.backbone)
    # A head that only trains in another way.
    detector.roi_head.__class__ = PISARoIHead
    check_onnx(detector)


def test_types_of_nms(detector):
    """A name, the function itself, as mmcv takes it, or none."""
    cfg = detector.roi_head.test_cfg
    for kind in ('nms', nms):
        cfg.nms = dict(type=kind, iou_threshold=0.5)
        check_onnx(detector)
        assert nms_type(cfg) == 'nms'
    cfg.nms = dict(iou_threshold=0.5, split_thr=100)
    check_onnx(detector)
    cfg.nms = dict(type='soft_nms', iou_threshold=0.5, min_score=0.05)
    check_onnx(detector)
    assert nms_type(cfg) == 'soft_nms'


@pytest.mark.parametrize(
    ('stage', 'nms_cfg'),
    [
        ('rcnn', None),
        ('rpn', None),
        ('rcnn', dict(type='nms', iou_threshold=0.5, class_agnostic=True)),
        ('rcnn', dict(type='nms', iou_threshold=0.5, max_num=10)),
        ('rcnn', dict(type='nms_match', iou_threshold=0.5)),
        ('rcnn', dict(type='nms')),
        ('rpn', dict(type='soft_nms', iou_threshold=0.5)),
    ],
)
def test_other_nms(detector, stage, nms_cfg):
    head = detector.roi_head if stage == 'rcnn' else detector.rpn_head
    head.test_cfg.nms = nms_cfg
    for check in (check_onnx, check_ncnn):
        with pytest.raises(NotImplementedError, match=f'test_cfg.{stage}.nms is'):
            check(detector)


def test_number_of_proposals(detector):
    detector.rpn_head.test_cfg.max_per_img = -1
    with pytest.raises(NotImplementedError, match='test_cfg.rpn.max_per_img is -1'):
        check_onnx(detector)


def test_number_of_classes(detector):
    detector.dataset_meta = dict(classes=('cat',))
    with pytest.raises(ValueError, match='dataset_meta has 1 classes, but .*num_classes is 6'):
        check_onnx(detector)


class OtherRPNHead(RPNHead):
    def _predict_by_feat_single(self, *args, **kwargs) -> None:
        """Decode in another way."""


@pytest.mark.parametrize(
    ('part', 'kind', 'message'),
    [
        ('roi_head', DoubleHeadRoIHead, 'ThunderNet with roi_head DoubleHeadRoIHead'),
        ('rpn_head', OtherRPNHead, 'model.rpn_head is a OtherRPNHead'),
        ('roi_head.bbox_head', SABLHead, 'model.roi_head.bbox_head is a SABLHead'),
        ('data_preprocessor', BaseDataPreprocessor, 'model.data_preprocessor is a BaseDataPreprocessor'),
    ],
)
def test_other_parts(detector, part, kind, message):
    detector.get_submodule(part).__class__ = kind
    with pytest.raises(NotImplementedError, match=message):
        check_onnx(detector)


def test_other_options(detector):
    assert isinstance(detector.data_preprocessor, DetDataPreprocessor)
    detector.data_preprocessor.batch_augments = [BatchFixedSizePad((64, 64))]  # in training only
    check_onnx(detector)
    head = detector.roi_head.bbox_head
    head.with_reg = False
    with pytest.raises(NotImplementedError, match='with_reg=False'):
        check_onnx(detector)
    head.with_reg, head.loss_cls = True, SeesawLoss(num_classes=6)
    with pytest.raises(NotImplementedError, match='loss_cls is SeesawLoss'):
        check_onnx(detector)


def test_extractor_and_mask_head(detector):
    with pytest.raises(NotImplementedError, match='Sequential with roi_head NoneType'):
        check_onnx(nn.Sequential())
    detector.roi_head.bbox_roi_extractor.roi_layers[0] = nn.Identity()
    with pytest.raises(NotImplementedError, match='PSRoIExtractor with Identity.* has no equivalent'):
        check_onnx(detector)
    detector.roi_head.mask_head = nn.Identity()
    with pytest.raises(NotImplementedError, match='mask_head=None'):
        check_onnx(detector)


def test_max_roi_align(faster_rcnn):
    faster_rcnn.roi_head.bbox_roi_extractor.roi_layers[0].pool_mode = 'max'
    with pytest.raises(NotImplementedError, match='SingleRoIExtractor with .*average RoIAlign'):
        check_onnx(faster_rcnn)


def test_box_coders_of_ncnn(detector):
    coder = detector.roi_head.bbox_head.bbox_coder
    for name, value in (('clip_border', False), ('add_ctr_clamp', True)):
        unclipped = copy.deepcopy(detector)
        setattr(unclipped.roi_head.bbox_head.bbox_coder, name, value)
        with pytest.raises(NotImplementedError, match='roi_head.bbox_head.bbox_coder is not .* clip_border=True'):
            check_ncnn(unclipped)
    detector.rpn_head.bbox_coder = LegacyDeltaXYWHBBoxCoder(coder.means, coder.stds)
    with pytest.raises(NotImplementedError, match='rpn_head.bbox_coder is not'):
        check_ncnn(detector)
