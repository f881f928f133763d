# Short name of thundernet_snet146_4xb16-375k_coco.
_base_ = './thundernet_snet146_4xb16-375k_coco.py'
