_base_ = './thundernet_snet49_4xb16-62k5_voc0712.py'

model = dict(backbone=dict(arch='535'), neck=dict(in_channels=[496, 992]))
