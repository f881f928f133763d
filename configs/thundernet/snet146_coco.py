_base_ = './snet49_coco.py'

model = dict(backbone=dict(arch='146'), neck=dict(in_channels=[264, 528]))
