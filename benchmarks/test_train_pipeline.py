"""The training pipeline: what each transform takes, beside mmdet's own in the place of this package's.

Both pipelines run on each image in turn, with the same random numbers.
"""

import time
from pathlib import Path
from typing import Dict, List

import numpy as np
import pandas as pd
import pytest
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import Compose

from mmthunder.datasets import base_dataset_cfgs

ROUNDS, IMAGES = 20, 50
# The transforms of mmdet that one of this package's stands for, with the arguments that they take of it.
MMDETS = dict(
    ExpandMinIoURandomCrop=dict(
        Expand=('mean', 'to_rgb', 'ratio_range', 'prob'),
        MinIoURandomCrop=('min_ious', 'min_crop_size', 'bbox_clip_border'),
    )
)


def mmdets_steps(step: dict) -> List[dict]:
    """Return mmdet's transforms that do what a step of a pipeline does."""
    types = MMDETS.get(step['type'])
    if types is None:
        return [step]
    return [dict(type=name, **{key: step[key] for key in keys if key in step}) for name, keys in types.items()]


def run(pipeline: Compose, results: dict, times: Dict[str, float]) -> None:
    """Run a pipeline on an image and add what each transform takes, in milliseconds of the processor."""
    for transform in pipeline.transforms:
        start = time.process_time()
        results = transform(results)
        times[type(transform).__name__] += 1e3 * (time.process_time() - start)
        if results is None:
            return


def test_transforms(config, data_root):
    """Milliseconds of one processor an image: median and 10th to 90th percentile of the rounds; prints a table."""
    cfg = Config.fromfile(config)
    _, dataset_cfg = next(base_dataset_cfgs(cfg.train_dataloader.dataset))
    steps = dataset_cfg.pop('pipeline')
    dataset_cfg.data_root = data_root or dataset_cfg.data_root
    if not Path(dataset_cfg.data_root).is_dir():
        pytest.skip(f'no directory {dataset_cfg.data_root}; give another with --data-root')
    dataset = DATASETS.build(dict(dataset_cfg, pipeline=[]))
    mmdets = [other for step in steps for other in mmdets_steps(step)]
    pipelines = dict(ours=Compose(steps), mmdets=Compose(mmdets))
    indices = np.unique(np.linspace(0, len(dataset) - 1, IMAGES).round().astype(int)).tolist()
    rounds = {name: [] for name in pipelines}
    for number in range(ROUNDS + 1):
        times = {name: dict.fromkeys((type(t).__name__ for t in p.transforms), 0.0) for name, p in pipelines.items()}
        for index in indices:
            for name, pipeline in pipelines.items():
                np.random.seed((number, index))
                run(pipeline, dataset.get_data_info(index), times[name])
        for name in pipelines:
            rounds[name].append(times[name])
    tables = {name: pd.DataFrame(rows[1:]) / len(indices) for name, rows in rounds.items()}  # the first warms up
    for table in tables.values():
        table['all'] = table.sum(axis=1)
    ratio = (tables['ours']['all'] / tables['mmdets']['all']).quantile([0.5, 0.1, 0.9])
    shown = {
        name: table.agg(lambda column: '{:.2f} ({:.2f}-{:.2f})'.format(*column.quantile([0.5, 0.1, 0.9])))
        for name, table in tables.items()
    }
    order = dict.fromkeys([*tables['mmdets'].columns[:-1], *tables['ours'].columns])
    print(f'\nms an image, {len(indices)} images, {ROUNDS} rounds:')
    print(pd.DataFrame(shown).reindex(list(order)).fillna('').to_markdown())
    print('ours / mmdets: {:.2f} ({:.2f}-{:.2f})'.format(*ratio))
    assert ratio[0.5] < 1 or mmdets == steps
