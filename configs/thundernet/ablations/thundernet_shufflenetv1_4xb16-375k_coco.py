# ShuffleNetV1 1x with 3 groups instead of SNet146 (paper, comparison of lightweight backbones). Requires mmpretrain.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ShuffleNetV1',
        groups=3,
        widen_factor=1.0,
        out_indices=(1, 2),
        norm_cfg=dict(type='SyncBN'),
    ),
    neck=dict(in_channels=[480, 960]),
)
