# The detector and recipe that the authors released in 2021. They differ from the paper's in head, RoI features,
# training sizes, sampling and number of epochs.
_base_ = ['../_base_/models/thundernet_snet49.py', '../_base_/datasets/coco_320.py', '../_base_/default_runtime.py']

model = dict(
    data_preprocessor=dict(pad_size_divisor=1, batch_augments=None),
    backbone=dict(
        arch='146',
        channels_last=False,  # rounds as the released network does; True is faster
        # The released classifier, converted by tools/model_converters/convert.py.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/snet146_release_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[264, 528]),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(pool_mode='max', aligned=False, min_size=0.1)),
        bbox_head=dict(num_shared_fcs=2, reg_class_agnostic=False),
    ),
    train_cfg=dict(rpn_proposal=dict(max_per_img=1000), rcnn=dict(sampler=dict(type='RandomSampler', num=512))),
    test_cfg=dict(rpn=dict(nms_pre=2000), rcnn=dict(nms=dict(_delete_=True, type='soft_nms', iou_threshold=0.5))),
)

train_pipeline = [
    dict(type='LoadImageFromFile', to_float32=True, backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=32,
        contrast_range=(0.5, 1.5),
        saturation_range=(0.5, 1.5),
        hue_delta=18,
    ),
    _base_.expand_and_crop,
    # One size per image; batches are padded to the largest one.
    dict(type='RandomChoiceResize', scales=[(240, 240), (360, 360), (480, 480)], keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    batch_size=64,  # one GPU
    num_workers=4,
    sampler=dict(type='DefaultSampler'),
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=5,
        dataset=dict(
            type='CocoDataset',
            data_root='data/coco/',
            ann_file='annotations/instances_train2017.json',
            data_prefix=dict(img='train2017/'),
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=train_pipeline,
        ),
    ),
)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=80, val_interval=1)  # 5 passes each
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=80, by_epoch=True, milestones=[40, 60], gamma=0.1),
]
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001))
auto_scale_lr = dict(enable=False, base_batch_size=64)
