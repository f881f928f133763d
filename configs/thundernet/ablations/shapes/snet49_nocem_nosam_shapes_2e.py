# Without CEM and without SAM.
_base_ = './snet49_nocem_shapes_2e.py'

model = dict(sam=None)
