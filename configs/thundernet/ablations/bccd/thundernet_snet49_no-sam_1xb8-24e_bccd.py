# Without SAM.
_base_ = './thundernet_snet49_1xb8-24e_bccd.py'

model = dict(sam=None)
