# Without CEM: the map is C5 through a 1x1 convolution, at twice its size.
_base_ = './snet49_shapes_2e.py'

model = dict(neck=dict(use_c4=False, use_glb=False))
