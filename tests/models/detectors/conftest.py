"""Narrow detectors with all the parts of the real ones."""

from typing import Callable

import pytest
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope

NARROW_SNET = dict(
    _delete_=True, type='SNet', stem_channels=8, stage_channels=(16, 24, 32), stage_repeats=(2, 2, 1), conv5_channels=40
)
NARROW_THUNDERNET = {
    'backbone': NARROW_SNET,
    'neck.in_channels': [24, 40],
    'data_preprocessor.batch_augments': None,
    'roi_head.bbox_head.fc_out_channels': 64,
}
NARROW_DETNET = {
    'backbone.base_channels': 4,
    'backbone.init_cfg': None,
    'neck.in_channels': [16, 32, 64, 64, 64],
    'neck.out_channels': 16,
    'rpn_head.in_channels': 16,
    'rpn_head.feat_channels': 16,
    'roi_head.bbox_roi_extractor.out_channels': 16,
    'roi_head.bbox_head.in_channels': 16,
    'roi_head.bbox_head.fc_out_channels': 32,
}
NARROW = dict(
    paper=('thundernet/thundernet_snet49_4xb16-375k_coco.py', NARROW_THUNDERNET),
    release=('thundernet/thundernet_snet146-release_1xb64-400e_coco.py', NARROW_THUNDERNET),
    detnet=('detnet/faster-rcnn_detnet59_fpn_8xb2-180k_coco.py', NARROW_DETNET),
)


@pytest.fixture(scope='session')
def build_narrow(repo, load) -> Callable[[str, int], TwoStageDetector]:
    """A function that builds one of :data:`NARROW` for a number of classes; of 2000 proposals it keeps 200."""

    def build(name: str, num_classes: int) -> TwoStageDetector:
        file, changes = NARROW[name]
        init_default_scope('mmdet')
        cfg = load(repo / 'configs' / file)
        cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
        cfg.model.roi_head.bbox_head.num_classes = num_classes
        cfg.model.train_cfg.rpn_proposal.update(nms_pre=500, max_per_img=200)
        cfg.model.test_cfg.rpn.update(nms_pre=500, max_per_img=50)
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
        model.init_weights()
        return model

    return build
