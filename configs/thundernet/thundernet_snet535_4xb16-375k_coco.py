_base_ = './thundernet_snet49_4xb16-375k_coco.py'

model = dict(backbone=dict(arch='535'), neck=dict(in_channels=[496, 992]))
