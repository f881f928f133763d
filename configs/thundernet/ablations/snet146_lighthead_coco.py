# SNet146 with a full 3x3 convolution in the RPN, as Light-Head R-CNN's, without CEM and SAM (paper section 3.2).
_base_ = './snet146_nocem_nosam_coco.py'

model = dict(rpn_head=dict(kernel_size=3, depthwise=False))
