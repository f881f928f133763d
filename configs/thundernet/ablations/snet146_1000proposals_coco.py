# SNet146 tested with 1000 proposals in place of 200. Trained as snet146_coco is.
_base_ = '../snet146_coco.py'

model = dict(test_cfg=dict(rpn=dict(nms_pre=2000, max_per_img=1000)))
