# SNet146 with a Conv5 of 1024 channels and the same MACs (paper Table 5 d).
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(backbone=dict(conv5_channels=1024, stage_channels=(120, 240, 480)), neck=dict(in_channels=[240, 1024]))
