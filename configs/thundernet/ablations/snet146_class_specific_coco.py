# SNet146 with a box of its own for each class, as in the authors' release.
_base_ = '../snet146_coco.py'

model = dict(roi_head=dict(bbox_head=dict(reg_class_agnostic=False)))
