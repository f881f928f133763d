# SNet146 tested with 1000 proposals in place of 200. Trained as thundernet_snet146_4xb16-375k_coco is.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(test_cfg=dict(rpn=dict(nms_pre=2000, max_per_img=1000)))
