# SNet146 with 5x5 instead of 7x7 bins (p 5).
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(
    neck=dict(out_channels=125),  # alpha * p * p
    rpn_head=dict(in_channels=125),
    sam=dict(out_channels=125),
    roi_head=dict(bbox_roi_extractor=dict(roi_layer=dict(output_size=5)), bbox_head=dict(roi_feat_size=5)),
)
