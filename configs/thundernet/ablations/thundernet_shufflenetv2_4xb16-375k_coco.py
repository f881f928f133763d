# ShuffleNetV2 1x instead of SNet146 (paper, comparison of lightweight backbones); C5 is the output of its Conv5.
# Requires mmpretrain.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ShuffleNetV2',
        widen_factor=1.0,
        out_indices=(1, 3),
        norm_cfg=dict(type='SyncBN'),
    ),
    neck=dict(in_channels=[232, 1024]),
)
