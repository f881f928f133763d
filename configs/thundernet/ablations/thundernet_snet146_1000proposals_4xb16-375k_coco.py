# SNet146 with 1000 instead of 200 proposals in tests. Training is that of thundernet_snet146_4xb16-375k_coco.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(test_cfg=dict(rpn=dict(nms_pre=2000, max_per_img=1000)))
