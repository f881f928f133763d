# COCO 2017 at 320 px, SSD-style augmentation, one training size per batch.
_base_ = 'mmdet::_base_/datasets/coco_detection.py'

input_size = 320  # px, of test images

# mmdet's Expand and MinIoURandomCrop, but faster.
expand_and_crop = dict(
    type='ExpandMinIoURandomCrop',
    mean=[123.675, 116.28, 103.53],
    to_rgb=True,
    ratio_range=(1, 4),
    min_ious=(0.1, 0.3, 0.5, 0.7, 0.9),
    min_crop_size=0.3,
)
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(type='LoadAnnotations', with_bbox=True),
    expand_and_crop,
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1), keep_empty=False),
    # The largest training size; the model's batch augment downsamples it.
    dict(type='Resize', scale=(480, 480), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=32,
        contrast_range=(0.5, 1.5),
        saturation_range=(0.5, 1.5),
        hue_delta=18,
    ),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(input_size, input_size), keep_ratio=False)

train_dataloader = dict(
    batch_size=16,
    sampler=dict(type='InfiniteSampler'),  # for iteration-based schedules
    batch_sampler=None,  # no grouping by aspect ratio, since all images have one size
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(batch_size=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# Matches categories by name; any ids, any part of the images.
val_evaluator = dict(type='ThunderCocoMetric')
test_evaluator = val_evaluator
