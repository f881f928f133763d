_base_ = './snet49_in1k.py'

model = dict(backbone=dict(arch='146'), head=dict(in_channels=528))
