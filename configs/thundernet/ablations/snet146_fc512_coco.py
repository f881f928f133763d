# SNet146 with a head of 512 in place of 1024.
_base_ = '../snet146_coco.py'

model = dict(roi_head=dict(bbox_head=dict(fc_out_channels=512)))
