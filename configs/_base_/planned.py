# Shared by the configs of tools/make_config.py, which give the data's files, the pipelines and their decisions.
_base_ = ['models/thundernet_snet49.py', 'default_runtime_iter.py']

model = dict(
    data_preprocessor=dict(batch_augments=None),
    rpn_head=dict(
        # Sizes in pixels rather than a grid of scales and ratios; centred in the cells.
        anchor_generator=dict(_delete_=True, type='YOLOAnchorGenerator', strides=[16]),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(pos_iou_thr=0.5),
            # A small object has few matching anchors and a large one many; this samples as many of each object.
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
        rpn_proposal=dict(max_per_img=500),
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
    test_cfg=dict(rpn=dict(max_per_img=500), rcnn=dict(score_thr=0.01, nms=dict(min_score=0.01))),
)

train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='CocoDataset', filter_cfg=dict(filter_empty_gt=False)),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CocoDataset', test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', metric='bbox', classwise=True)
test_evaluator = val_evaluator

train_cfg = dict(type='IterBasedTrainLoop')
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', weight_decay=0.05),
    clip_grad=dict(max_norm=10, norm_type=2),
)
# --auto-scale-lr multiplies lr by (processes x batch_size) / base_batch_size.
auto_scale_lr = dict(enable=False, base_batch_size=4)
# Of checkpoints, the last one and the one of the best validation are kept.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best='coco/bbox_mAP'))
