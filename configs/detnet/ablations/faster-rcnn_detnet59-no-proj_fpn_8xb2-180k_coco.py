# DetNet-59-NoProj: stage 6 starts with block A, without a projection shortcut (paper Table 5).
_base_ = '../faster-rcnn_detnet59_fpn_8xb2-180k_coco.py'

model = dict(backbone=dict(stage6_projection=False))
