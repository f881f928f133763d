# 180000 iterations of 8 GPUs x 2 images (24.6 epochs of COCO); SGD 0.02, divided by 10 after 120000 and 160000.
max_iters = 180000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=20000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

param_scheduler = [
    dict(type='LinearLR', start_factor=0.3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[120000, 160000], gamma=0.1),
]
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=0.0001))

# --auto-scale-lr multiplies lr by (GPUs x batch_size) / base_batch_size.
auto_scale_lr = dict(enable=False, base_batch_size=16)
