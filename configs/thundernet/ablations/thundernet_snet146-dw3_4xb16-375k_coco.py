# SNet146 with 3x3 depthwise convolutions and the same MACs (paper Table 5 b).
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(backbone=dict(kernel_size=3, stage_channels=(136, 272, 542)), neck=dict(in_channels=[272, 542]))
