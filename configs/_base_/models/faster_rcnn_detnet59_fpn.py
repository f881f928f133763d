# Faster R-CNN with DetNet-59 and FPN: strides 4, 8, 16, 16, 16, anchors of 32 to 512 px (paper Figures 1 and 2).
_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='DetNet',
        depth=59,
        style='pytorch',  # stride in the 3x3 convolution, as in torchvision's weights and the public ones of DetNet-59
        frozen_stages=0,  # the stem, which is the paper's stage 1
        # The running statistics are frozen; the affine parameters learn, since no file may fill stages 5 and 6.
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=True,
        # Fills stages 1 to 4; the README says how to fill all of them.
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    # FPN upsamples to the size of the next map, so maps of the same stride are summed as they are.
    neck=dict(in_channels=[256, 512, 1024, 1024, 1024]),
    rpn_head=dict(
        anchor_generator=dict(
            strides=[4, 8, 16, 16, 16],
            # Anchor sizes at scale 1 in px. By default these are the strides: three levels would share their anchors.
            base_sizes=[4, 8, 16, 32, 64],
        )
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[4, 8, 16, 16]),  # P2 to P5, as in FPN
        bbox_head=dict(bbox_coder=dict(type='AnyBoxCoder')),
    ),
    # nms_pre is per level, max_per_img over all levels.
    train_cfg=dict(rpn_proposal=dict(nms_pre=12000, max_per_img=2000)),
    test_cfg=dict(rpn=dict(nms_pre=6000)),
)
