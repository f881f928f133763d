# ThunderNet with SNet49 on COCO 2017, 320 px.
_base_ = [
    '../_base_/models/thundernet_snet49.py',
    '../_base_/datasets/coco_320.py',
    '../_base_/schedules/schedule_375k.py',
    '../_base_/default_runtime_iter.py',
]
