# Faster R-CNN with DetNet-59 and FPN on COCO 2017.
_base_ = [
    '../_base_/models/faster_rcnn_detnet59_fpn.py',
    '../_base_/datasets/coco_800.py',
    '../_base_/schedules/schedule_180k.py',
    '../_base_/default_runtime_iter.py',
]
