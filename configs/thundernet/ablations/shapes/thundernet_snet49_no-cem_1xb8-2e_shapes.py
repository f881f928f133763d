# Without CEM: the map is C5 through a 1x1 convolution, at twice its size.
_base_ = './thundernet_snet49_1xb8-2e_shapes.py'

model = dict(neck=dict(use_c4=False, use_glb=False))
