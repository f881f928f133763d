# Mask R-CNN with DetNet-59 and FPN, trained from scratch and tested on the first six images of val2017. A check that
# the model overfits, that is, that boxes, masks, losses and evaluation are right.
_base_ = './mask-rcnn_detnet59_fpn_8xb2-180k_coco.py'

scale = (384, 288)  # px
model = dict(
    # With batches of two images, batch statistics would differ too much from the running statistics used in tests.
    backbone=dict(frozen_stages=-1, norm_cfg=dict(type='GN', num_groups=32), norm_eval=False, init_cfg=None),
    rpn_head=dict(anchor_generator=dict(scales=[4])),  # 16 to 256 px
    roi_head=dict(
        bbox_roi_extractor=dict(finest_scale=28, roi_layer=dict(sampling_ratio=2)),
        mask_roi_extractor=dict(finest_scale=28, roi_layer=dict(sampling_ratio=2)),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=300), rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)

images = dict(ann_file='annotations/instances_val2017.json', data_prefix=dict(img='val2017/'), indices=6)
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = scale
# CocoMetric reads the ground truth from 'instances', since the annotation file has more images.
test_pipeline[3].meta_keys += ('instances',)
train_dataloader = dict(num_workers=1, dataset=dict(**images, pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(indices=6, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='CocoMetric', metric=['bbox', 'segm'])
test_evaluator = val_evaluator

max_iters = 480  # 160 epochs of six images
train_cfg = dict(max_iters=max_iters, val_interval=160)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', begin=0, end=max_iters, by_epoch=False),
]
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.0003, weight_decay=0.0001),
    clip_grad=dict(max_norm=10, norm_type=2),
)
default_hooks = dict(checkpoint=dict(interval=160), logger=dict(interval=10))
auto_scale_lr = dict(base_batch_size=2)
randomness = dict(seed=0)
