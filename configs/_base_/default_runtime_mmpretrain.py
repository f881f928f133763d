# default_runtime_iter.py for mmpretrain.
_base_ = './default_runtime_iter.py'

default_scope = 'mmpretrain'
default_hooks = dict(visualization=dict(_delete_=True, type='VisualizationHook'))
visualizer = dict(_delete_=True, type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
