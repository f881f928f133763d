# SNet146 without CEM and SAM (paper, ablation of the detection part): the feature map is C5 after a 1x1 convolution,
# upsampled by 2. The paper does not describe its feature map without CEM.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(neck=dict(use_c4=False, use_glb=False), sam=None)
