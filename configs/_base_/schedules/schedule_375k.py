# 375000 iterations of 4 GPUs x 16 images: SGD 0.01, divided by 10 after half and three quarters of them.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

max_iters = 375000
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=25000)
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
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=64)  # 4 GPUs x 16 images
