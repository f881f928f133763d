# DetNet-59 on ImageNet-1k with the recipe of SNet; the paper uses that of ResNeXt, with a batch size of 256.
_base_ = './snet49_8xb64-300k_in1k.py'

model = dict(
    backbone=dict(_delete_=True, type='mmdet.DetNet', depth=59, out_indices=(4,), norm_eval=False),
    head=dict(in_channels=1024),
)
