# default_runtime_iter.py for mmpretrain, whose registries know mmdet's under their scope.
_base_ = './default_runtime_iter.py'

default_scope = 'mmpretrain'
runner_type = 'mmdet.ThunderRunner'
default_hooks = dict(visualization=dict(type='VisualizationHook'))
custom_hooks = [
    dict(type='mmdet.CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
    dict(type='mmdet.CheckpointFitHook'),
    # Checkpoints of tensors and plain values, with the random states, for safe and exact resuming.
    dict(type='mmdet.RandomStateHook'),
    dict(type='mmdet.PlainCheckpointHook', priority='LOWEST'),
]
visualizer = dict(type='UniversalVisualizer')
