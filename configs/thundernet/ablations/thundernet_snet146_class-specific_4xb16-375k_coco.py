# SNet146 with class-specific box regression, as in the authors' release.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(roi_head=dict(bbox_head=dict(reg_class_agnostic=False)))
