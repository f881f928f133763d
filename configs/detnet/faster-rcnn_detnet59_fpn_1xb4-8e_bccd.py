# Faster R-CNN with DetNet-59 and FPN on BCCD at half the resolution, from scratch: a short run on CPU, twice as fast
# with --amp.
_base_ = ['../_base_/models/faster_rcnn_detnet59_fpn.py', '../_base_/datasets/bccd.py', '../_base_/default_runtime.py']

scale = (320, 240)  # px; the images have 640x480 px
model = dict(
    backbone=dict(frozen_stages=-1, norm_eval=False, init_cfg=None),
    rpn_head=dict(anchor_generator=dict(scales=[4])),  # 16 to 256 px
    # finest_scale=28: RoIs below 56 px are pooled from P2, those below 112 px from P3 and so on, half of the default.
    # sampling_ratio=2: 2x2 samples per bin; the adaptive default takes a fifth of the time of a step on CPU.
    roi_head=dict(
        bbox_roi_extractor=dict(finest_scale=28, roi_layer=dict(sampling_ratio=2)), bbox_head=dict(num_classes=3)
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=300), rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    # Remove boxes of zero area, which some annotations have.
    dict(type='FilterAnnotations', min_gt_bbox_wh=(4, 4), keep_empty=False),
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = scale
train_dataloader = dict(batch_size=4, dataset=dict(times=1, dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

max_epochs = 8  # 52 iterations each
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=4)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.0004, weight_decay=0.05),
    clip_grad=dict(max_norm=10, norm_type=2),
)
auto_scale_lr = dict(enable=False, base_batch_size=4)
randomness = dict(seed=0)
