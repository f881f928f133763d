# Without SAM.
_base_ = './snet49_bccd_2e.py'

model = dict(sam=None)
