_base_ = 'mmdet::_base_/default_runtime.py'

# Registers the package's modules; the one place that does.
custom_imports = dict(
    imports=['mmthunder.models', 'mmthunder.engine', 'mmthunder.datasets'], allow_failed_imports=False
)
# mmengine's Runner with checks, atomic checkpoints and exact resuming. Without this line: mmengine's own Runner.
runner_type = 'mmthunder.engine.ThunderRunner'

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
