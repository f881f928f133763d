# ShuffleNetV2 1x with the ImageNet weights that OpenMMLab publishes (top-1 accuracy 69.55). Requires mmpretrain.
_base_ = './ablations/thundernet_shufflenetv2_4xb16-375k_coco.py'

checkpoint = (
    'https://download.openmmlab.com/mmclassification/v0/shufflenet_v2/'
    'shufflenet_v2_batch1024_imagenet_20200812-5bf4721e.pth'
)
model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')))
