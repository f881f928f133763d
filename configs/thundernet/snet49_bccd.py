# Short name of thundernet_snet49_1xb8-80e_bccd.
_base_ = './thundernet_snet49_1xb8-80e_bccd.py'
