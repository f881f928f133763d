# SNet146 tested with 300 proposals in place of 200. Trained as thundernet_snet146_4xb16-375k_coco is.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(test_cfg=dict(rpn=dict(max_per_img=300)))
