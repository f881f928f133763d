# SNet146 with a fully connected layer of 2048 instead of 1024 channels in the head.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(roi_head=dict(bbox_head=dict(fc_out_channels=2048)))
