# SNet49 on crops of the objects in BCCD's training images, from tools/misc/make_crops.py: a few minutes on CPU.
_base_ = './snet49_8xb64-300k_in1k.py'

model = dict(head=dict(num_classes=4, loss=dict(num_classes=4)))

data_root = 'data/bccd_crops/'
dataset_type = 'CustomDataset'  # one directory per class
size = 96  # px
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.4, 1.0)),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(size, size)), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='ClassBalancedDataset',
        oversample_thr=0.5,
        dataset=dict(type=dataset_type, data_root=data_root, data_prefix='train', pipeline=train_pipeline),
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(_delete_=True, type=dataset_type, data_root=data_root, data_prefix='val', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='Accuracy', topk=1), dict(type='SingleLabelMetric', items=['recall'], average=None)]
test_evaluator = val_evaluator

max_iters = 600  # about 9 epochs
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters),
]
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=0.002, weight_decay=0.05), paramwise_cfg=dict(bias_decay_mult=0.0)
)
default_hooks = dict(checkpoint=dict(interval=max_iters))
auto_scale_lr = dict(base_batch_size=64)
randomness = dict(seed=0)
