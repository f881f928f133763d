# DetNet-59-NoProj: stage 6 opens with block A, so that it is more of stage 5 (paper Table 5).
_base_ = '../faster-rcnn_detnet59_fpn_8xb2-180k_coco.py'

model = dict(backbone=dict(stage6_projection=False))
