# default_runtime.py for iteration-based schedules.
_base_ = './default_runtime.py'

# Log validations by iteration; by epoch, all of them would be epoch 0.
default_hooks = dict(logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=2500))
log_processor = dict(by_epoch=False)
# With a fixed seed, a resumed run samples the same images as an uninterrupted one.
randomness = dict(seed=0)
