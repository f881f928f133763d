# SNet146 with as many RoIs drawn at random in place of online hard example mining (paper's training recipe).
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(train_cfg=dict(rcnn=dict(sampler=dict(type='RandomSampler'))))
