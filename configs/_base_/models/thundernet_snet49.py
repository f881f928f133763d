# ThunderNet with SNet49: alpha 5, p 7, one fc layer of 1024 channels, class-agnostic box regression (paper sections
# 3.1 and 3.2). mmthunder.models registers its modules; nothing else of the package is needed.
norm_cfg = dict(type='SyncBN')  # BN if training is not distributed
iou_calculator = dict(type='ChunkedBboxOverlaps2D')  # as mmdet's BboxOverlaps2D, but faster on CPU
model = dict(
    type='ThunderNet',
    data_preprocessor=dict(
        type='InPlaceDetDataPreprocessor',  # as DetDataPreprocessor, but faster
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
        # Multi-scale training: the pipeline resizes images to the largest size, each batch is resized to one of these
        # (longer side in px).
        batch_augments=[dict(type='BatchSyncRandomChoiceResize', sizes=[240, 320, 480])],
    ),
    backbone=dict(type='SNet', arch='49', norm_cfg=norm_cfg),
    neck=dict(
        type='CEM',
        in_channels=[120, 512],  # C4, C5
        out_channels=245,  # alpha * p * p
        use_c4=True,
        use_c5=True,
        use_glb=True,
    ),
    rpn_head=dict(
        type='LightRPNHead',
        in_channels=245,
        feat_channels=256,
        kernel_size=5,
        depthwise=True,
        norm_cfg=norm_cfg,
        anchor_generator=dict(
            type='AnchorGenerator',
            scales=[2, 4, 8, 16, 32],  # x stride 16 = 32 to 512 px
            ratios=[0.5, 0.75, 1.0, 4 / 3, 2.0],
            strides=[16],
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[1.0, 1.0, 1.0, 1.0]),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=1.0),
    ),
    sam=dict(type='SpatialAttention', in_channels=256, out_channels=245, norm_cfg=norm_cfg),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='PSRoIExtractor',
            roi_layer=dict(type='PSRoIAlign', output_size=7, sampling_ratio=2, pool_mode='avg', aligned=True),
            out_channels=5,  # alpha
            featmap_strides=[16],
        ),
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_fcs=1,
            in_channels=5,
            fc_out_channels=1024,
            roi_feat_size=7,
            num_classes=80,
            bbox_coder=dict(type='AnyBoxCoder', target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[0.1, 0.1, 0.2, 0.2]),
            reg_class_agnostic=True,
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=0.3,
                match_low_quality=True,
                ignore_iof_thr=-1,
                iou_calculator=iou_calculator,
            ),
            sampler=dict(type='RandomSampler', num=256, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=False),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        rpn_proposal=dict(nms_pre=2000, max_per_img=2000, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=False,
                ignore_iof_thr=-1,
                iou_calculator=iou_calculator,
            ),
            # The 256 of up to 2000 proposals per image with the largest loss.
            sampler=dict(type='OHEMSampler', num=256, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True),
            pos_weight=-1,
            debug=False,
        ),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=200, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(score_thr=0.05, nms=dict(type='soft_nms', iou_threshold=0.5, min_score=0.05), max_per_img=100),
    ),
)
