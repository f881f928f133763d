# DetNet-59 with the recipe of SNet; the paper has that of ResNeXt, with batches of 256.
_base_ = './snet49_8xb64-300k_in1k.py'

model = dict(
    backbone=dict(_delete_=True, type='mmdet.DetNet', depth=59, out_indices=(4,), norm_eval=False),
    head=dict(in_channels=1024),
)
