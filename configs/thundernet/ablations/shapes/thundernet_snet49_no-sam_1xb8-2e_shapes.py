# Without SAM.
_base_ = './thundernet_snet49_1xb8-2e_shapes.py'

model = dict(sam=None)
