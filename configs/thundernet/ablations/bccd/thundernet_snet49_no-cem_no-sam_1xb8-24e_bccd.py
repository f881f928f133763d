# Without CEM and SAM.
_base_ = './thundernet_snet49_no-cem_1xb8-24e_bccd.py'

model = dict(sam=None)
