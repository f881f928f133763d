# SNet535 at 192 px, training sizes in proportion (paper's table of input resolutions).
_base_ = '../thundernet_snet535_4xb16-375k_coco.py'

input_size = 192
sizes = [input_size * 3 // 4, input_size, input_size * 3 // 2]
model = dict(data_preprocessor=dict(batch_augments=[dict(type='BatchSyncRandomChoiceResize', sizes=sizes)]))

train_pipeline = _base_.train_pipeline
train_pipeline[5].scale = (sizes[-1], sizes[-1])
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (input_size, input_size)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
