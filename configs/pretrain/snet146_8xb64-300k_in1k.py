_base_ = './snet49_8xb64-300k_in1k.py'

model = dict(backbone=dict(arch='146'), head=dict(in_channels=528))
