# 62500 iterations; otherwise as schedule_375k.py.
_base_ = './schedule_375k.py'

max_iters = 62500
train_cfg = dict(max_iters=max_iters, val_interval=6250)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=500),
    dict(
        type='MultiStepLR',
        begin=0,
        end=max_iters,
        by_epoch=False,
        milestones=[max_iters // 2, max_iters * 3 // 4],
        gamma=0.1,
    ),
]
