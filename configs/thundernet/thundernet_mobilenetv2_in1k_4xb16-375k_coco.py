# MobileNetV2 1.0 with the ImageNet weights that OpenMMLab publishes for mmdet.
_base_ = './ablations/thundernet_mobilenetv2_4xb16-375k_coco.py'

model = dict(
    backbone=dict(widen_factor=1.0, init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://mmdet/mobilenet_v2')),
    neck=dict(in_channels=[96, 1280]),
)
