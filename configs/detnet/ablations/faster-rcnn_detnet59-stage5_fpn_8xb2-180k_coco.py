# DetNet-59 without stage 6: P6 is subsampled from P5, as in FPN.
_base_ = '../faster-rcnn_detnet59_fpn_8xb2-180k_coco.py'

model = dict(
    backbone=dict(num_stages=4),
    neck=dict(in_channels=[256, 512, 1024, 1024]),
    rpn_head=dict(anchor_generator=dict(strides=[4, 8, 16, 16, 32])),
)
