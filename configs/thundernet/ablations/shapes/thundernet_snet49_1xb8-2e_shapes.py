# Two epochs instead of five, about 2 minutes on two CPU cores: the baseline of the ablations on `shapes`.
_base_ = '../../thundernet_snet49_1xb8-5e_shapes.py'

max_epochs = 2
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
