# SNet146 with a CEM without the upsampled C5 (paper section 3.2).
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(neck=dict(use_c5=False))
