# SNet146 with NMS instead of soft-NMS in tests. Training is that of thundernet_snet146_4xb16-375k_coco.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(test_cfg=dict(rcnn=dict(nms=dict(_delete_=True, type='nms', iou_threshold=0.5))))
