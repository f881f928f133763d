# With a backbone that learned to tell the training photographs' objects apart: configs/pretrain/snet49_bccd_crops.py.
_base_ = './snet49_bccd_2e.py'

model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/snet49_bccd_crops/iter_600.pth', prefix='backbone.')
    )
)
