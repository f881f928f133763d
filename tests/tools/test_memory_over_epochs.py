"""tools/analysis_tools/memory_over_epochs.py: memory of a training over its epochs, on a small scale."""

import json
import multiprocessing
from pathlib import Path
from types import ModuleType
from typing import List

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from torch.utils.data import DataLoader


@pytest.fixture
def tool(load_tool) -> ModuleType:
    return load_tool('analysis_tools/memory_over_epochs.py')


def read(folder: Path, **kwargs) -> CocoDataset:
    return CocoDataset(
        data_root=str(folder),
        ann_file='annotations.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('cat', 'dog')),
        pipeline=[],
        **kwargs,
    )


def test_dataset(tool, tmp_path):
    """Every object is one that mmdet keeps, inside its image."""
    size = tool.write_dataset(tmp_path, 50, 3, ('cat', 'dog'))
    assert size == (tmp_path / 'annotations.json').stat().st_size
    assert len(json.loads((tmp_path / 'annotations.json').read_text())['annotations']) == 150
    dataset = read(tmp_path)
    assert len(dataset) == 50
    infos = [dataset.get_data_info(i) for i in range(50)]
    assert {Path(info['img_path']).name for info in infos} == {f'{i}.jpg' for i in range(8)}
    assert all(Path(info['img_path']).is_file() and len(info['instances']) == 3 for info in infos)
    boxes = np.array([instance['bbox'] for info in infos for instance in info['instances']])
    assert boxes.min() >= 0 and (boxes[:, 2:] <= (160, 120)).all() and (boxes[:, 2:] - boxes[:, :2]).min() >= 1
    assert {instance['bbox_label'] for info in infos for instance in info['instances']} == {0, 1}


def test_short_epochs(tool):
    sampler = tool.ShortEpochs(range(100), 8, seed=1)
    epochs = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert len(sampler) == 8 and all(len(set(epoch)) == 8 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and max(map(max, epochs)) > 50
    assert len(tool.ShortEpochs(range(5), 8)) == 5


@pytest.mark.parametrize('serialize', [True, False])
def test_reading_all_images(tool, tmp_path, serialize):
    """Two workers that have read each image use no more memory, which mmdet's default sees to."""
    tool.write_dataset(tmp_path, 8000, 7, ('cat', 'dog'))
    loader = DataLoader(
        read(tmp_path, **({} if serialize else dict(serialize_data=False))),
        batch_size=100,
        num_workers=2,
        collate_fn=len,
        multiprocessing_context='fork',
    )
    usages: List[int] = []
    for i, _ in enumerate(loader):
        if i in (7, 79):
            usages.append(sum(tool.proportional_bytes(process.pid) for process in multiprocessing.active_children()))
    growth = usages[1] - usages[0]
    assert growth < 4e6 if serialize else growth > 8e6


def test_training(tool, tiny_cfg, tmp_path, capsys):
    """With workers that stay from epoch to epoch."""
    tiny_cfg.train_dataloader.persistent_workers = True
    tiny_cfg.dump(tmp_path / 'tiny.py')
    usages = tool.main(
        [
            str(tmp_path / 'tiny.py'),
            '--images',
            '2000',
            '--objects',
            '5',
            '--epochs',
            '4',
            '--iterations',
            '4',
            '--batch',
            '2',
            '--size',
            '64',
        ]
    )
    output = capsys.readouterr().out
    assert len(usages) == 4 and all(min(usage) > 1e6 for usage in usages)
    assert usages[3].workers - usages[1].workers < 10e6
    # The trainer's allocator settles by some 10 MB in so few steps.
    assert usages[3].trainer - usages[1].trainer < 50e6
    assert 'wrote 2000 images with 5 objects each' in output and 'loaded 2000 images in ' in output
    assert [line.split(' | ')[0] for line in output.splitlines() if line.startswith('| ')] == [
        '| epoch',
        '| ---',
        '| 1',
        '| 2',
        '| 3',
        '| 4',
    ]
    assert 'growth from epoch 2 on: ' in output


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--epochs', '2'], '--epochs: 2: must be at least 3'),
        (['--workers', '0'], '--workers: 0: must be at least 1'),
        (['--threads', '0'], '--threads: 0: must be at least 1'),
    ],
)
def test_invalid_arguments(tool, repo, capsys, arguments, message):
    with pytest.raises(SystemExit):
        tool.main([str(repo / 'configs/thundernet/thundernet_snet49_1xb8-5e_shapes.py'), *arguments])
    assert message in capsys.readouterr().err


def test_no_training_set(tool, tiny_cfg, tmp_path, capsys):
    tiny_cfg.train_dataloader = None
    tiny_cfg.dump(tmp_path / 'tiny.py')
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path / 'tiny.py')])
    assert 'tiny.py: has no train_dataloader.dataset' in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ('name', 'message'),
    [('thundernet_snet49_4xb16-62k5_voc0712', 'must be one CocoDataset'), ('nothing', 'nothing.py')],
)
def test_invalid_config(tool, repo, capsys, name, message):
    with pytest.raises(SystemExit):
        tool.main([str(repo / f'configs/thundernet/{name}.py')])
    assert message in capsys.readouterr().err
