# Makes mmdet see this package; the one place that does.
custom_imports = dict(
    imports=['mmthunder.models', 'mmthunder.engine', 'mmthunder.datasets'], allow_failed_imports=False
)
default_scope = 'mmdet'
# mmengine's runner, with gloo on machines without a GPU and readable data errors.
runner_type = 'ThunderRunner'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Whole checkpoints, whenever the training is killed.
    checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'),
    strict_checkpoint=dict(type='StrictCheckpointHook'),
    # Checkpoints of tensors and plain values, with the random states, for safe and exact resuming.
    rng_state=dict(type='RNGStateHook'),
    weights_only_checkpoint=dict(type='WeightsOnlyCheckpointHook', priority='LOWEST'),
)
custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='DivergenceHook'),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)

log_level = 'INFO'
load_from = None
resume = False
