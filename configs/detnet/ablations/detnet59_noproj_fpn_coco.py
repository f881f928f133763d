# DetNet-59-NoProj: stage 6 opens with block A, so that it is more of stage 5 (paper Table 5).
_base_ = '../detnet59_fpn_coco.py'

model = dict(backbone=dict(stage6_projection=False))
