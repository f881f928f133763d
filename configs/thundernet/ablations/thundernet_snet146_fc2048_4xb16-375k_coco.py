# SNet146 with a head of 2048 in place of 1024.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(roi_head=dict(bbox_head=dict(fc_out_channels=2048)))
