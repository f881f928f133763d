# SNet146 with NMS in place of soft-NMS (paper's test recipe). Trained as thundernet_snet146_4xb16-375k_coco is.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(test_cfg=dict(rcnn=dict(nms=dict(_delete_=True, type='nms', iou_threshold=0.5))))
