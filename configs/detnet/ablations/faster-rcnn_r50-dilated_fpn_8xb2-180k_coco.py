# ResNet-50 with dilation 2 instead of stride 2 in stage 5, pretrained without dilation (paper Table 6).
_base_ = '../faster-rcnn_r50_fpn_8xb2-180k_coco.py'

model = dict(
    backbone=dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    rpn_head=dict(anchor_generator=dict(strides=[4, 8, 16, 16, 32])),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[4, 8, 16, 16])),
)
