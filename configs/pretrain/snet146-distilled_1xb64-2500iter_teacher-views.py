# SNet146 taught as SNet49 is, for fewer iterations.
_base_ = './snet49-distilled_1xb64-8k_teacher-views.py'

model = dict(backbone=dict(arch='146'), in_channels=[132, 264, 528])
max_iters = 2500
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', by_epoch=False, begin=_base_.warmup, end=max_iters),
]
