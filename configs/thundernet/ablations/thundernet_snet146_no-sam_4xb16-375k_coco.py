# SNet146 with CEM, without SAM (paper, ablation of the detection part).
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(sam=None)
