# ThunderNet with SNet49 on Pascal VOC 07+12, 320 px.
_base_ = [
    '../_base_/models/thundernet_snet49.py',
    '../_base_/datasets/voc0712_320.py',
    '../_base_/schedules/schedule_62k5.py',
    '../_base_/default_runtime_iter.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
