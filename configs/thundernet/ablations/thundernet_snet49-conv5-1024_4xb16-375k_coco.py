# SNet49 with a Conv5 of 1024 channels and the same MACs (paper Table 5 g).
_base_ = '../thundernet_snet49_4xb16-375k_coco.py'

model = dict(backbone=dict(conv5_channels=1024, stage_channels=(54, 110, 218)), neck=dict(in_channels=[110, 1024]))
