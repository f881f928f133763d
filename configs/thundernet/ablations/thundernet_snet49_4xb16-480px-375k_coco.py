# SNet49 at 480 px; multi-scale training at 3/4, 1 and 3/2 of it, as at 320 px (paper, table of input resolutions).
_base_ = '../thundernet_snet49_4xb16-375k_coco.py'

input_size = 480  # px
_base_.model.data_preprocessor.batch_augments[0].sizes = [360, 480, 720]
_base_.train_pipeline[4].scale = _base_.train_dataloader.dataset.pipeline[4].scale = (720, 720)
_base_.test_pipeline[1].scale = _base_.val_dataloader.dataset.pipeline[1].scale = (480, 480)
test_dataloader = _base_.val_dataloader
