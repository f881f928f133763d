"""Tests of the table and the picture, from logs as trainings write them."""

import json
from pathlib import Path

import cv2
import pandas as pd
import pytest

from mmthunder.comparison.plot import plot
from mmthunder.comparison.results import read_curve, read_result, read_validations, to_markdown

CONFIG = """
train_cfg = dict(max_iters=200)
optim_wrapper = dict(optimizer=dict(lr=0.1))
train_dataloader = dict(batch_size=4, dataset=dict(metainfo=dict(classes=('cat', 'dog'))))
"""
LINE = '2026/01/01 10:{:02}:00 - mmengine - INFO - Iter({}) [9/9]    {}'


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """A training that was interrupted after its first validation and resumed an hour later."""
    for start, minute, aps in (('20260101_100000', 0, [0.3]), ('20260101_110000', 30, [0.5, 0.4])):
        (tmp_path / start / 'vis_data').mkdir(parents=True)
        lines, log = [], [LINE.format(minute, 'train', 'loss: 1.0')]
        for number, ap in enumerate(aps, 1):
            lines.append(json.dumps(dict(loss=1.0, iter=number)))
            lines.append(json.dumps({'coco/bbox_mAP': ap, 'coco/bbox_mAP_50': ap + 0.1, 'coco/cat_precision': ap / 2}))
            log.append(LINE.format(minute + 2 * number, 'val', f'coco/bbox_mAP: {ap:.4f}  coco/bbox_mAP_50: 0.9'))
        (tmp_path / start / 'vis_data/scalars.json').write_text('\n'.join([*lines, '{"coco/bbox_mAP": 0.9']))
        (tmp_path / start / f'{start}.log').write_text('\n'.join(log))
    return tmp_path


def test_validations(work_dir):
    assert [each['coco/bbox_mAP'] for each in read_validations(work_dir)] == [0.3, 0.5, 0.4]


def test_curve_leaves_interruptions_out(work_dir):
    assert read_curve(work_dir) == [(2, 0.3), (4, 0.5), (6, 0.4)]


def test_result(work_dir):
    config = work_dir / 'config.py'
    config.write_text(CONFIG)
    row = read_result('peer', config, work_dir, 6.0)
    assert (row['AP'], row['AP50'], row['best_AP'], row['images_seen']) == (0.4, 0.5, 0.5, 800)
    assert (row['AP cat'], row['AP dog']) == (0.2, None)


def test_table():
    rows = pd.DataFrame(
        [
            dict(detector='first', AP=0.41234, AP50=0.5, images_seen=800, openvino_ms=3.14159, **{'AP cat': 0.2}),
            dict(detector='second', AP=0.3, AP50=0.6, images_seen=80, **{'AP cat': None}),
        ]
    )
    head, _, first, second = [
        [cell.strip() for cell in line.strip('|').split('|')] for line in to_markdown(rows).splitlines()
    ]
    assert head == ['detector', 'AP', 'AP50', 'images seen', 'OpenVINO (ms)', 'AP cat']
    assert first == ['first', '0.412', '0.500', '800', '3.1', '0.200']
    assert second == ['second', '0.300', '0.600', '80', '-', '-']


@pytest.mark.parametrize(
    'columns, panels',
    [({}, 1), (dict(openvino_ms=[None, None]), 1), (dict(openvino_ms=[3.0, 5.0], onnxruntime_ms=[4.0, None]), 2)],
)
def test_plot(tmp_path, columns, panels):
    """There is no empty panel."""
    rows = pd.DataFrame(dict(detector=['first', 'second'], AP=[0.4, 0.3], **columns))
    plot(rows, dict(first=[(1, 0.1), (2, 0.4)], second=[(1.5, 0.3)]), tmp_path / 'plot.png')
    image = cv2.imread(str(tmp_path / 'plot.png'))
    assert image.shape == (600, 720 * panels, 3) and image.std() > 1
