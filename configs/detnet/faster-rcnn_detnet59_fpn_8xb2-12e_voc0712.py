# Faster R-CNN with DetNet-59 and FPN on Pascal VOC 07+12. The paper has no VOC results; the schedule is mmdet's.
_base_ = [
    '../_base_/models/faster_rcnn_detnet59_fpn.py',
    '../_base_/datasets/voc0712_600.py',
    '../_base_/schedules/schedule_180k.py',
    '../_base_/default_runtime_iter.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))

max_iters = 12400  # 12 epochs of 16551 images, 16 images per iteration
train_cfg = dict(max_iters=max_iters, val_interval=3100)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[9300], gamma=0.1),
]
optim_wrapper = dict(optimizer=dict(lr=0.01))
