_base_ = './thundernet_snet49_4xb16-62k5_voc0712.py'

model = dict(backbone=dict(arch='146'), neck=dict(in_channels=[264, 528]))
