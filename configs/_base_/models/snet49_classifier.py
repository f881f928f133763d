# SNet49 as a classifier (paper Table 1): global average pooling and one fully connected layer.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmdet.SNet', arch='49', out_indices=(2,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=512,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=1000),
    ),
)
