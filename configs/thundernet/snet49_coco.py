# Short name of thundernet_snet49_4xb16-375k_coco.
_base_ = './thundernet_snet49_4xb16-375k_coco.py'
