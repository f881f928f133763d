# SNet49 taught by EfficientNet-Lite0 on photographs without labels, from tools/misc/make_teacher_views.py.
_base_ = '../_base_/default_runtime_mmpretrain.py'

data_root = 'data/teacher_views/'
model = dict(
    type='mmthunder.pretrain.FeatureDistiller',
    # Views are stored as RGB.
    data_preprocessor=dict(
        type='mmengine.ImgDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    backbone=dict(type='mmdet.SNet', arch='49', out_indices=(0, 1, 2)),
    in_channels=[60, 120, 512],
    # The teacher sees the views at twice the side, so that its strides 16 and 32 are the backbone's 8 and 16.
    teacher_channels=dict(stride16=112, stride32=320),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=0,  # the views are decoded and cropped already
    persistent_workers=False,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='mmthunder.pretrain.TeacherViews', data_root=data_root),
)
max_iters = 8000
warmup = 100
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup, end=max_iters),
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.002, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
auto_scale_lr = dict(base_batch_size=64)
