# 180000 iterations of 8 GPUs x 2 images (24.6 epochs of COCO): SGD 0.02, divided by 10 after 120000 and 160000.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

max_iters = 180000
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=20000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[120000, 160000], gamma=0.1),
]
