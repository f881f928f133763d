# Without SAM.
_base_ = './snet49_shapes_2e.py'

model = dict(sam=None)
