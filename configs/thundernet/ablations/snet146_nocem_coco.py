# SNet146 with SAM, without CEM (paper's ablation of the detection part).
_base_ = '../snet146_coco.py'

model = dict(neck=dict(use_c4=False, use_glb=False))
