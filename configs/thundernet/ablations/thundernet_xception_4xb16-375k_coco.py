# A small Xception instead of SNet146 (paper, comparison of lightweight backbones).
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SmallXception',
        stage_channels=(104, 208, 416),
        out_indices=(1, 2),
        norm_cfg=dict(type='SyncBN'),
    ),
    neck=dict(in_channels=[208, 416]),
)
