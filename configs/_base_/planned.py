# What all configs of tools/make_config.py share; each of them gives the data's files, the pipelines and its decisions.
_base_ = ['models/thundernet_snet49.py', 'default_runtime_iter.py']

model = dict(
    data_preprocessor=dict(batch_augments=None),
    rpn_head=dict(
        # Sizes in pixels, which need not be a grid of scales and ratios; centred in the cells.
        anchor_generator=dict(_delete_=True, type='YOLOAnchorGenerator', strides=[16]),
    ),
    train_cfg=dict(
        rpn=dict(assigner=dict(pos_iou_thr=0.5)),
        rpn_proposal=dict(nms_pre=1000),
        rcnn=dict(sampler=dict(type='RandomSampler', num=128, pos_fraction=0.5)),
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.01, nms=dict(min_score=0.01))),
)

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    worker_init_fn=dict(type='seed_worker'),
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
auto_scale_lr = dict(enable=False, base_batch_size=8)
# The weights of the best validation, and the last ones.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best='coco/bbox_mAP'))
