# SNet146 with SAM, without CEM (paper, ablation of the detection part).
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(neck=dict(use_c4=False, use_glb=False))
