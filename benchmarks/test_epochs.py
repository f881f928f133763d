"""Memory of all processes of a training over its epochs, on a COCO file of many images."""

import ctypes
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List

import numpy as np
import pandas as pd
import psutil
from conftest import REPO
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, RUNNERS
from mmengine.runner import Runner

IMAGES, FILES, OBJECTS = 100_000, 8, 7
EPOCHS, SETTLED, LENGTH = 12, 6, 48  # the epoch from which on nothing may grow; images of an epoch


@DATA_SAMPLERS.register_module()
class ShortEpochs(DefaultSampler):
    """The first images of each epoch's random order."""

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of an epoch."""
        return itertools.islice(super().__iter__(), LENGTH)

    def __len__(self) -> int:
        """Return the number of images of an epoch."""
        return LENGTH


class UsageHook(Hook):
    """Measures the proportional set size (a page that n processes share counts as 1/n) before each epoch ends.

    Attributes:
        usages (list[dict[str, float]]): Megabytes of the trainer and of its workers, one entry per epoch.
    """

    def __init__(self) -> None:
        self.usages: List[Dict[str, float]] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, *args, **kwargs) -> None:
        """Measure, if it was the last iteration; workers that do not persist end after it."""
        if self.end_of_epoch(runner.train_dataloader, batch_idx):
            ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed
            trainer, *workers = (
                process.memory_full_info().pss / 1e6
                for process in (psutil.Process(), *psutil.Process().children(recursive=True))
            )
            self.usages.append(dict(trainer=trainer, workers=sum(workers)))


def write_dataset(work_dir: Path, classes: int) -> None:
    """Write a COCO file in which a few images appear many times."""
    rng = np.random.default_rng(0)
    images = [dict(id=number, file_name=f'{number % FILES:06d}.jpg', width=320, height=320) for number in range(IMAGES)]
    corners = rng.uniform(0, 200, (IMAGES * OBJECTS, 2)).round(1).tolist()
    labels = rng.integers(1, classes + 1, IMAGES * OBJECTS).tolist()
    annotations = [
        dict(id=number, image_id=number // OBJECTS, category_id=label, bbox=[x, y, 60, 90], area=5400, iscrowd=0)
        for number, ((x, y), label) in enumerate(zip(corners, labels))
    ]
    data = json.loads((work_dir / 'annotations/train.json').read_text())
    data.update(images=images, annotations=annotations)
    (work_dir / 'annotations/train.json').write_text(json.dumps(data))


def test_memory(tmp_path):
    """Once allocators and shared pages have settled, nothing grows."""
    data = tmp_path / 'data'
    command = [sys.executable, str(REPO / 'tools/misc/make_shapes.py'), '--out', str(data)]
    subprocess.run([*command, '--train', str(FILES), '--val', '1'], check=True)
    cfg = Config.fromfile(REPO / 'configs/thundernet/snet49_shapes.py')
    write_dataset(data, len(cfg.metainfo.classes))
    cfg.train_dataloader.dataset.data_root = f'{data}/'
    cfg.train_dataloader.update(num_workers=2, persistent_workers=True, sampler=dict(type='ShortEpochs', shuffle=True))
    cfg.train_cfg.max_epochs = EPOCHS
    cfg.param_scheduler = cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.work_dir = str(tmp_path / 'work')
    runner = RUNNERS.build(cfg)
    hook = UsageHook()
    runner.register_hook(hook)
    runner.train()
    usages = pd.DataFrame(hook.usages, index=pd.RangeIndex(1, EPOCHS + 1, name='epoch'))
    usages['all'] = usages.sum(axis=1)
    print(f'\nmegabytes:\n{usages.to_markdown(floatfmt=".1f")}')
    growth = np.polyfit(usages.index[SETTLED - 1 :], usages['all'][SETTLED - 1 :], 1)[0]
    print(f'growth from epoch {SETTLED} on: {growth:+.1f} MB per epoch (least squares)')
    assert growth < 10
