# SNet146 with alpha 10, as in Light-Head R-CNN, instead of 5.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(
    neck=dict(out_channels=490),  # alpha * p * p
    rpn_head=dict(in_channels=490),
    sam=dict(out_channels=490),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=10), bbox_head=dict(in_channels=10)),
)
