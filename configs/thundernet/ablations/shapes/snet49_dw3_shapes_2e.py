# 3x3 instead of 5x5 depthwise convolutions in the backbone.
_base_ = './snet49_shapes_2e.py'

model = dict(backbone=dict(kernel_size=3))
