# Alpha 10 instead of 5: twice as many channels of the position-sensitive feature map and of the RoI features.
_base_ = './thundernet_snet49_1xb8-2e_shapes.py'

model = dict(
    neck=dict(out_channels=490),  # alpha * p * p
    rpn_head=dict(in_channels=490),
    sam=dict(out_channels=490),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=10), bbox_head=dict(in_channels=10)),
)
