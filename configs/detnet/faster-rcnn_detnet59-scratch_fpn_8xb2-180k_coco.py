# DetNet-59 from scratch. The paper does not describe the recipe: here the backbone has trainable SyncBN, since there
# are no pretrained statistics to freeze; the rest is as with ImageNet weights.
_base_ = './faster-rcnn_detnet59_fpn_8xb2-180k_coco.py'

model = dict(backbone=dict(frozen_stages=-1, norm_cfg=dict(type='SyncBN'), norm_eval=False, init_cfg=None))
