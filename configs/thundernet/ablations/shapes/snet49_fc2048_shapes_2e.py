# A head of 2048 instead of 1024 wide.
_base_ = './snet49_shapes_2e.py'

model = dict(roi_head=dict(bbox_head=dict(fc_out_channels=2048)))
