# A fully connected layer of 2048 instead of 1024 channels in the head.
_base_ = './thundernet_snet49_1xb8-2e_shapes.py'

model = dict(roi_head=dict(bbox_head=dict(fc_out_channels=2048)))
