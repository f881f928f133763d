_base_ = './thundernet_snet49_4xb16-375k_coco.py'

model = dict(backbone=dict(arch='146'), neck=dict(in_channels=[264, 528]))
