# SNet49 without Conv5 and with the same MACs (paper Table 5 f).
_base_ = '../thundernet_snet49_4xb16-375k_coco.py'

model = dict(backbone=dict(conv5_channels=0, stage_channels=(66, 132, 262)), neck=dict(in_channels=[132, 262]))
