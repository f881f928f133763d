# ThunderNet with SNet49 on `shapes`, from scratch in 6 minutes on two CPU cores.
_base_ = ['../_base_/models/thundernet_snet49.py', '../_base_/datasets/shapes.py', '../_base_/default_runtime.py']

# Frequently modified settings
num_classes = 6
anchor_scales = [4, 5.5, 7.5, 10]  # x stride 16 = 64 to 160 px
anchor_ratios = [0.75, 1.0, 4 / 3]  # height / width
max_epochs = 5
base_lr = 0.0015  # of AdamW at a batch size of 8

model = dict(
    data_preprocessor=dict(batch_augments=None),
    rpn_head=dict(anchor_generator=dict(scales=anchor_scales, ratios=anchor_ratios)),
    roi_head=dict(bbox_head=dict(num_classes=num_classes, loss_cls=dict(loss_weight=2.0))),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=1000, max_per_img=200),
        rcnn=dict(sampler=dict(type='RandomSampler', num=128, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=1000), rcnn=dict(score_thr=0.01, nms=dict(min_score=0.01))),
)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=base_lr, weight_decay=0.05),
    clip_grad=dict(max_norm=10, norm_type=2),
)
auto_scale_lr = dict(enable=False, base_batch_size=8)
randomness = dict(seed=0)
