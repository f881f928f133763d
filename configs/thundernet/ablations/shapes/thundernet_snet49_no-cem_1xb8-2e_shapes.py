# Without CEM: the feature map is C5 after a 1x1 convolution, upsampled by 2.
_base_ = './thundernet_snet49_1xb8-2e_shapes.py'

model = dict(neck=dict(use_c4=False, use_glb=False))
