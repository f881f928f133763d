# ThunderNet with SNet49 on BCCD, from scratch: the worked example for a data set of one's own.
_base_ = ['../_base_/models/thundernet_snet49.py', '../_base_/datasets/bccd.py', '../_base_/default_runtime.py']

model = dict(
    data_preprocessor=dict(batch_augments=None),
    rpn_head=dict(
        anchor_generator=dict(
            scales=[2, 2.75, 3.75, 5, 7, 10, 14],  # 32 to 224 px, close together for the small platelets
            ratios=[0.75, 1.0, 4 / 3],
        )
    ),
    roi_head=dict(
        bbox_head=dict(
            num_classes=3,
            # Platelets are 7 % of the objects; the last weight is the background's.
            loss_cls=dict(class_weight=[1.0, 1.0, 3.0, 1.0]),
        )
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(pos_iou_thr=0.5),
            # A platelet has few matching anchors and a red cell many; this draws as many of each object.
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

max_epochs = 8  # of 10 passes over the 205 photographs each
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.05),
    clip_grad=dict(max_norm=10, norm_type=2),
)
auto_scale_lr = dict(enable=False, base_batch_size=8)
randomness = dict(seed=0)
