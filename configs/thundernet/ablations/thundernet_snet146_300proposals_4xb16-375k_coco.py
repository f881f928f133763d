# SNet146 with 300 instead of 200 proposals in tests. Training is that of thundernet_snet146_4xb16-375k_coco.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(test_cfg=dict(rpn=dict(max_per_img=300)))
