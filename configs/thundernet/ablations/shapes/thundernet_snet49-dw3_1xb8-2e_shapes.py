# 3x3 instead of 5x5 depthwise convolutions in the backbone.
_base_ = './thundernet_snet49_1xb8-2e_shapes.py'

model = dict(backbone=dict(kernel_size=3))
