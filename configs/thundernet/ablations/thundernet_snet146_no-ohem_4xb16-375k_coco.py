# SNet146 with random sampling of RoIs instead of online hard example mining.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(train_cfg=dict(rcnn=dict(sampler=dict(type='RandomSampler'))))
