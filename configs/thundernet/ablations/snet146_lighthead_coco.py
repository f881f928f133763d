# SNet146 with a full 3x3 convolution in the RPN, without CEM and SAM: the compressed Light-Head R-CNN that the
# paper's ablation of the detection part starts from.
_base_ = './snet146_nocem_nosam_coco.py'

model = dict(rpn_head=dict(kernel_size=3, depthwise=False))
