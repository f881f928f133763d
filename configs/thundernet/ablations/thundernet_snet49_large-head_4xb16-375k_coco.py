# SNet49 with alpha 10 and a fully connected layer of 2048 channels: small backbone, large head (paper, table of
# backbone against head).
_base_ = '../thundernet_snet49_4xb16-375k_coco.py'

model = dict(
    neck=dict(out_channels=490),  # alpha * p * p
    rpn_head=dict(in_channels=490),
    sam=dict(out_channels=490),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=10), bbox_head=dict(in_channels=10, fc_out_channels=2048)),
)
