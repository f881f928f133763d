# Without CEM and SAM.
_base_ = './thundernet_snet49_no-cem_1xb8-2e_shapes.py'

model = dict(sam=None)
