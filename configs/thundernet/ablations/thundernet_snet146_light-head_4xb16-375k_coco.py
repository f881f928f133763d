# SNet146 with a 3x3 convolution in the RPN, as in Light-Head R-CNN, without CEM and SAM (paper section 3.2).
_base_ = './thundernet_snet146_no-cem_no-sam_4xb16-375k_coco.py'

model = dict(rpn_head=dict(kernel_size=3, depthwise=False))
