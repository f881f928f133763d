# SNet146 without CEM and SAM (paper's ablation of the detection part): the map is C5 through a 1x1 convolution, at
# twice its size. How the paper makes its map without CEM is not known.
_base_ = '../thundernet_snet146_4xb16-375k_coco.py'

model = dict(neck=dict(use_c4=False, use_glb=False), sam=None)
