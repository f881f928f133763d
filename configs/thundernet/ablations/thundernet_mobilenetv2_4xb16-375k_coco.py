# MobileNetV2 instead of SNet146 (paper, comparison of lightweight backbones); C5 is the output of its last 1x1
# convolution.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(
    backbone=dict(
        _delete_=True, type='MobileNetV2', widen_factor=0.56, out_indices=(4, 7), norm_cfg=dict(type='SyncBN')
    ),
    neck=dict(in_channels=[56, 1280]),
)
