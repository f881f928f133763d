"""Trains on a COCO file of many images and shows the memory of all processes after each epoch.

    python tools/analysis_tools/memory_over_epochs.py configs/thundernet/thundernet_snet49_4xb16-375k_coco.py \
        --images 100000

The annotation file is written for the run, with the classes of the config's training set; its images are eight
files. The run is the config's, with its data pipeline and its workers, but for the size of the images, which is
small, and the length of an epoch: so many iterations, on images drawn from all. Memory that processes share
is counted once (proportional set size). First come the time and the peak memory of loading the file.
"""

import argparse
import itertools
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence

import cv2
import numpy as np
import torch
from arguments import at_least, config_with
from benchmark_latency import cpu_name
from complexity import markdown
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.config import Config, DictAction
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, RUNNERS, init_default_scope
from mmengine.runner import Runner
from process_memory import PeakMemory, proportional_bytes

from mmthunder.datasets import base_dataset_cfgs

FILES, WIDTH, HEIGHT = 8, 160, 120  # px


@DATA_SAMPLERS.register_module()
class ShortEpochs(DefaultSampler):
    """The first images of each epoch's random order.

    Args:
        dataset (Dataset): The data set.
        length (int): Images of an epoch.
        seed (int, optional): Of the order, which is another one in each epoch. Defaults to None.
    """

    def __init__(self, dataset: torch.utils.data.Dataset, length: int, seed: Optional[int] = None) -> None:
        super().__init__(dataset, shuffle=True, seed=seed)
        self.length = min(length, len(dataset))

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of an epoch."""
        return itertools.islice(super().__iter__(), self.length)

    def __len__(self) -> int:
        """Give the number of images of an epoch."""
        return self.length


class Usage(NamedTuple):
    """Memory at the end of an epoch, in bytes."""

    trainer: int
    workers: int


class UsageHook(Hook):
    """Measures memory at the last iteration of each epoch, before workers that do not persist end.

    Attributes:
        usages (list[Usage]): One for each epoch.
    """

    def __init__(self) -> None:
        self.usages: List[Usage] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, *args, **kwargs) -> None:
        """Measure, if it was the last iteration."""
        if self.end_of_epoch(runner.train_dataloader, batch_idx):
            workers = [proportional_bytes(process.pid) for process in multiprocessing.active_children()]
            self.usages.append(Usage(proportional_bytes(), sum(workers)))
            print(
                f'epoch {runner.epoch + 1} of {runner.max_epochs}: trainer {self.usages[-1].trainer / 1e6:.0f} MB, '
                f'{len(workers)} workers {self.usages[-1].workers / 1e6:.0f} MB'
            )


def write_dataset(folder: Path, images: int, objects: int, classes: Sequence[str]) -> int:
    """Write a COCO file that names a few images many times.

    Args:
        folder (Path): Where to write ``annotations.json`` and ``images``.
        images (int): Images in the file.
        objects (int): Objects of an image.
        classes (Sequence[str]): Names of the categories.

    Returns:
        int: Bytes of the file.
    """
    rng = np.random.default_rng(0)
    (folder / 'images').mkdir(parents=True)
    for number in range(FILES):
        coarse = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'images/{number}.jpg'), cv2.resize(coarse, (WIDTH, HEIGHT)))
    corners = rng.uniform(0, (WIDTH - 2, HEIGHT - 2), (images * objects, 2)).round(1)
    sides = (1 + rng.uniform(0, 1, corners.shape) * ((WIDTH - 1, HEIGHT - 1) - corners)).round(1)
    labels = rng.integers(0, len(classes), len(corners)).tolist()
    annotations = [
        dict(
            id=number,
            image_id=number // objects,
            category_id=label + 1,
            bbox=[x, y, w, h],
            area=w * h,
            iscrowd=0,
            segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
        )
        for number, ((x, y), (w, h), label) in enumerate(zip(corners.tolist(), sides.tolist(), labels))
    ]
    content = dict(
        images=[dict(id=i, file_name=f'{i % FILES}.jpg', width=WIDTH, height=HEIGHT) for i in range(images)],
        annotations=annotations,
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(classes)],
    )
    return (folder / 'annotations.json').write_text(json.dumps(content))


def prepare(cfg: Config, folder: Path, args: argparse.Namespace) -> None:
    """Change a config for short epochs on the data set of :func:`write_dataset`.

    Args:
        cfg (Config): The config.
        folder (Path): The data set's folder.
        args (argparse.Namespace): The command line.
    """
    ((_, dataset),) = base_dataset_cfgs(cfg.train_dataloader.dataset)
    dataset.update(data_root=f'{folder}/', ann_file='annotations.json', data_prefix=dict(img='images/'))
    for step in dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (args.size, args.size)
    cfg.model.data_preprocessor.batch_augments = None
    cfg.model.backbone.init_cfg = None
    cfg.train_dataloader.update(batch_size=args.batch, num_workers=args.workers)
    cfg.train_dataloader.sampler = dict(type='ShortEpochs', length=args.batch * args.iterations)
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=args.epochs)
    cfg.param_scheduler = None
    for task in ('val', 'test'):
        for key in (f'{task}_dataloader', f'{task}_cfg', f'{task}_evaluator'):
            cfg[key] = None
    cfg.log_processor.by_epoch = True
    cfg.default_hooks.checkpoint = None
    cfg.log_level = 'ERROR'
    cfg.work_dir = str(folder / 'work')
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)


def main(argv: Optional[List[str]] = None) -> List[Usage]:
    """Parse the command line, train and print the table.

    Returns:
        list[Usage]: Memory at the end of each epoch.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    needed = ('model.backbone', 'model.data_preprocessor', 'train_dataloader.dataset', 'log_processor', 'default_hooks')
    parser.add_argument('config', type=config_with(*needed), help='config whose training set is in COCO layout')
    parser.add_argument('--images', type=at_least(1), default=100000, help='images in the annotation file')
    parser.add_argument('--objects', type=at_least(1), default=7, help='objects of an image')
    parser.add_argument('--epochs', type=at_least(3), default=6, help='epochs; the growth is that from the second on')
    parser.add_argument('--iterations', type=at_least(1), default=50, help='iterations of an epoch')
    parser.add_argument('--batch', type=at_least(1), default=16, help='images of a batch')
    parser.add_argument('--size', type=at_least(32), default=96, help='side that images are resized to, in pixels')
    parser.add_argument('--workers', type=at_least(1), default=2, help='processes that load data')
    parser.add_argument('--threads', type=at_least(1), default=1, help='threads of torch')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='changes to the config, as mim takes them')
    args = parser.parse_args(argv)
    if not Path('/proc/self/smaps_rollup').exists():
        parser.error('the memory of processes is read from /proc, which this system lacks')
    cfg = args.config
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    bases = [DATASETS.build(dict(base, lazy_init=True)) for _, base in base_dataset_cfgs(cfg.train_dataloader.dataset)]
    if len(bases) != 1 or not isinstance(bases[0], CocoDataset):
        parser.error(f'{cfg.filename}: the training set must be one CocoDataset')
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / 'data'
        size = write_dataset(folder, args.images, args.objects, bases[0].metainfo['classes'])
        print(f'wrote {args.images} images with {args.objects} objects each: {size / 1e6:.0f} MB of JSON')
        prepare(cfg, folder, args)
        runner = RUNNERS.build(cfg)
        memory = PeakMemory(torch.device('cpu'))
        memory.reset()
        start = time.perf_counter()
        length = len(runner.train_loop.dataloader.dataset)
        loading = time.perf_counter() - start
        peak = memory.read()
        print(f'loaded {length} images in {loading:.1f} s; peak {peak / 1e6:.0f} MB')
        hook = UsageHook()
        runner.register_hook(hook)
        runner.train()
    usages = hook.usages
    print(
        f'\n{Path(cfg.filename).stem}; {cpu_name()}; torch {torch.__version__}; {args.images} images with '
        f'{args.objects} objects; {args.workers} workers; epochs of {args.iterations} x {args.batch} images\n'
    )
    rows = [['epoch', 'trainer, MB', 'workers, MB', 'all, MB']]
    rows += [
        [str(epoch), *(f'{number / 1e6:.1f}' for number in (*usage, sum(usage)))]
        for epoch, usage in enumerate(usages, 1)
    ]
    print(markdown(rows))
    slope = np.polyfit(range(1, len(usages)), [sum(usage) / 1e6 for usage in usages[1:]], 1)[0]
    print(f'\ngrowth from epoch 2 on: {slope:+.1f} MB an epoch (least squares)')
    return usages


if __name__ == '__main__':
    main()
