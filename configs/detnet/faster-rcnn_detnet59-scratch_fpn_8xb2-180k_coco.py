# DetNet-59 from random weights. The paper's recipe for this is not known: the backbone's batch norm learns, over
# all processes, since there are no statistics to freeze; the rest is as with ImageNet weights.
_base_ = './faster-rcnn_detnet59_fpn_8xb2-180k_coco.py'

model = dict(backbone=dict(frozen_stages=-1, norm_cfg=dict(type='SyncBN'), norm_eval=False, init_cfg=None))
