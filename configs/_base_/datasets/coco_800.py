# COCO 2017, shorter side 800 px, longer side at most 1333 px, horizontal flips.
_base_ = 'mmdet::_base_/datasets/coco_detection.py'

train_dataloader = dict(sampler=dict(type='InfiniteSampler'))  # for iteration-based schedules

# Matches categories by name; any ids, any part of the images.
val_evaluator = dict(type='ThunderCocoMetric')
test_evaluator = val_evaluator
