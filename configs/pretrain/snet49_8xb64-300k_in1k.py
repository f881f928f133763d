# SNet49 on ImageNet-1k with the recipe of the authors' SNet146.
_base_ = [
    '../_base_/models/snet49_classifier.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/schedule_300k.py',
    '../_base_/default_runtime_mmpretrain.py',
]

custom_hooks = [
    # After the last iteration, the statistics of batch norm are recomputed over 2500 batches.
    dict(type='PreciseBNHook', num_samples=2500 * 512, interval=_base_.max_iters),
]
