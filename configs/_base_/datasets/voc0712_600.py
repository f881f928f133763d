# Pascal VOC 2007 + 2012, shorter side 600 px, longer side at most 1000 px, horizontal flips.
_base_ = 'mmdet::_base_/datasets/voc0712.py'

train_dataloader = dict(
    sampler=dict(type='InfiniteSampler'),  # for iteration-based schedules
    # Not repeated, and with small objects, which mmdet's base leaves out.
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        ignore_keys=['dataset_type'],  # differs between VOC2007 and VOC2012
        datasets=[
            dict(
                type=_base_.dataset_type,
                data_root=_base_.data_root,
                ann_file=f'VOC{year}/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root=f'VOC{year}/'),
                filter_cfg=dict(filter_empty_gt=True, min_size=32),
                pipeline=_base_.train_pipeline,
                backend_args=_base_.backend_args,
            )
            for year in (2007, 2012)
        ],
    ),
)
