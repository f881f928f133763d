# default_runtime_iter.py for mmpretrain, whose registries know mmdet's under their scope.
_base_ = './default_runtime_iter.py'

default_scope = 'mmpretrain'
runner_type = 'mmdet.ThunderRunner'
default_hooks = dict(
    checkpoint=dict(type='mmdet.AtomicCheckpointHook'),
    visualization=dict(type='VisualizationHook'),
    strict_checkpoint=dict(type='mmdet.StrictCheckpointHook'),
    rng_state=dict(type='mmdet.RNGStateHook'),
    weights_only_checkpoint=dict(type='mmdet.WeightsOnlyCheckpointHook'),
)
custom_hooks = [dict(type='mmdet.DivergenceHook')]
visualizer = dict(type='UniversalVisualizer')
