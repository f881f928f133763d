# The backbone starts from a classifier of the training images' objects, that of
# configs/pretrain/snet49_1xb64-600iter_bccd-crops.py.
_base_ = './thundernet_snet49_1xb8-24e_bccd.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/snet49_1xb64-600iter_bccd-crops/iter_600.pth', prefix='backbone.'
        )
    )
)
