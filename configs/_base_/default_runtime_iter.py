# default_runtime.py for schedules counted in iterations.
_base_ = './default_runtime.py'

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2500))
log_processor = dict(by_epoch=False)
