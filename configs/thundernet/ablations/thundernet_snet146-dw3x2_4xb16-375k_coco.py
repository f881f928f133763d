# SNet146 with two 3x3 depthwise convolutions instead of each 5x5 one and the same MACs (paper Table 5 c).
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(
    backbone=dict(kernel_size=3, depthwise_repeats=2, stage_channels=(134, 268, 534)), neck=dict(in_channels=[268, 534])
)
