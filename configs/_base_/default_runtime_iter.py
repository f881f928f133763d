# default_runtime.py for schedules counted in iterations.
_base_ = './default_runtime.py'

# Validations are logged with their iteration; they would all be logged as epoch 0.
default_hooks = dict(logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=2500))
log_processor = dict(by_epoch=False)
# A fixed seed lets a resumed run go through the images as the uninterrupted one.
randomness = dict(seed=0)
