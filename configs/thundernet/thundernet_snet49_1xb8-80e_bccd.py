# ThunderNet with SNet49 on BCCD, from scratch: an example of training on a custom data set.
_base_ = ['../_base_/models/thundernet_snet49.py', '../_base_/datasets/bccd.py', '../_base_/default_runtime.py']

# Frequently modified settings
num_classes = 3
class_weight = [1.0, 1.0, 3.0, 1.0]  # platelets are 7 % of the objects; the last weight is the background's
anchor_scales = [2, 2.75, 3.75, 5, 7, 10, 14]  # x stride 16 = 32 to 224 px, dense for the small platelets
anchor_ratios = [0.75, 1.0, 4 / 3]  # height / width
max_epochs = 8  # 10 passes over the 205 training images each
val_interval = 2  # epochs
base_lr = 0.001  # of AdamW at a batch size of 8

model = dict(
    data_preprocessor=dict(batch_augments=None),
    rpn_head=dict(anchor_generator=dict(scales=anchor_scales, ratios=anchor_ratios)),
    roi_head=dict(bbox_head=dict(num_classes=num_classes, loss_cls=dict(class_weight=class_weight))),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(pos_iou_thr=0.5),
            # Sample as many anchors of each object: platelets match few, red blood cells many.
            sampler=dict(
                _delete_=True,
                type='CombinedSampler',
                num=256,
                pos_fraction=0.5,
                add_gt_as_proposals=False,
                pos_sampler=dict(type='InstanceBalancedPosSampler'),
                neg_sampler=dict(type='RandomSampler'),
            ),
        ),
        rpn_proposal=dict(nms_pre=1000, max_per_img=500),
        rcnn=dict(
            sampler=dict(
                _delete_=True,
                type='CombinedSampler',
                num=128,
                pos_fraction=0.5,
                add_gt_as_proposals=True,
                pos_sampler=dict(type='InstanceBalancedPosSampler'),
                neg_sampler=dict(type='RandomSampler'),
            )
        ),
    ),
    test_cfg=dict(rpn=dict(nms_pre=2000, max_per_img=500), rcnn=dict(score_thr=0.01, nms=dict(min_score=0.01))),
)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=val_interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=base_lr, weight_decay=0.05),
    clip_grad=dict(max_norm=10, norm_type=2),
)
auto_scale_lr = dict(enable=False, base_batch_size=8)
randomness = dict(seed=0)
