# SNet146 with CEM, without SAM (paper's ablation of the detection part).
_base_ = '../snet146_coco.py'

model = dict(sam=None)
