# 62500 iterations of 4 GPUs x 16 images; SGD 0.01, divided by 10 at half and three quarters of them.
max_iters = 62500
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=6250)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

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
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001))

# --auto-scale-lr multiplies lr by (GPUs x batch_size) / base_batch_size.
auto_scale_lr = dict(enable=False, base_batch_size=64)
