# Short name of thundernet_snet49_1xb8-5e_shapes.
_base_ = './thundernet_snet49_1xb8-5e_shapes.py'
