_base_ = './snet49_voc.py'

model = dict(backbone=dict(arch='535'), neck=dict(in_channels=[496, 992]))
