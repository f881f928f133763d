# SNet146 with a CEM without C4 (paper section 3.2).
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(neck=dict(use_c4=False))
