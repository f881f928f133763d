"""Checks the datasets of a runner's data loaders before it builds them."""

import copy
from typing import Any, Callable, Dict, List, Optional, Union

from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from mmthunder.datasets import AnnotationError, DatasetReport, base_dataset_cfgs, base_datasets, check_dataset
from mmthunder.datasets.dataset_check import build_without_data
from mmthunder.datasets.image_files import tolerate_damage

from ..hooks.left_out_images_hook import LeftOutImagesHook
from .class_check import check_classes
from .image_check import check_image_files, check_options


def check_not_empty(dataset: Dataset) -> None:
    """Check that every dataset has an image; an infinite sampler would search an empty one forever.

    Args:
        dataset (Dataset): A dataset, possibly wrapped; those not derived from mmengine's are not checked.

    Raises:
        AnnotationError: If there is no image.
    """
    for base in base_datasets(dataset):
        if isinstance(base, BaseDataset) and not len(base):
            raise AnnotationError(
                f'{base.ann_file}: no image is left; the file lists none, or filter_cfg {base.filter_cfg} '
                f'leaves out all of them: those without objects of {base.metainfo.get("classes")} '
                '(filter_empty_gt) and those that are small (min_size)'
            )


def _task(runner: Runner, dataloader: Union[DataLoader, Dict]) -> Optional[str]:
    """Return whose data loader a config is; None if it is not one of the runner's three."""
    loaders = {task: getattr(runner, f'_{task}_dataloader') for task in ('train', 'val', 'test')}
    same = [task for task, other in loaders.items() if other is dataloader]
    equal = [task for task, other in loaders.items() if isinstance(dataloader, dict) and other == dataloader]
    return next(iter(same + equal), None)


def check_dataloader(runner: Runner, task: str, dataloader: Union[DataLoader, Dict, None]) -> List[DatasetReport]:
    """Check the annotations and class lists of a data loader's datasets, once in a run.

    Args:
        runner (Runner): The runner.
        task (str): ``'train'``, ``'val'`` or ``'test'``.
        dataloader (dict): Config of the data loader. Datasets that are built already are not checked.

    Returns:
        list[DatasetReport]: A report of each dataset.

    Raises:
        AnnotationError: If annotations are damaged or do not match the class list.
        FileNotFoundError: If an annotation file is missing, with how to point elsewhere.
    """
    known = vars(runner).setdefault('dataset_reports', {})
    if task not in known:
        reports = []
        cfg = dataloader.get('dataset') if isinstance(dataloader, dict) else None
        for key, base_cfg in base_dataset_cfgs(cfg, f'{task}_dataloader.dataset'):
            try:
                report = check_dataset(base_cfg, training=task == 'train', key=key)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f'{error.filename or error}: no such annotation file; put or link the dataset at '
                    f'{base_cfg.get("data_root")!r}, or point elsewhere with data_root in the config or --cfg-options '
                    f"{key}.data_root=/path/ (likewise the other data loaders and the evaluators' ann_file)"
                ) from None
            report.raise_errors()
            reports.append(report)
        known[task] = reports
    return known[task]


def build_dataloader(
    runner: Runner, dataloader: Union[DataLoader, Dict], build: Callable[[Any], DataLoader]
) -> DataLoader:
    """Check the datasets of a data loader, then build it.

    Args:
        runner (Runner): The runner.
        dataloader (dict): Config of the data loader.
        build (Callable): Builds it; ``Runner.build_dataloader``.

    Returns:
        DataLoader: The data loader.

    Raises:
        AnnotationError: If annotations are damaged or do not match the class list, or no image is left.
        FileNotFoundError: If an annotation file is missing, with how to point elsewhere.
    """
    task = _task(runner, dataloader)
    if task is None:
        return build(dataloader)
    check_dataloader(runner, task, dataloader)
    try:
        loader = build(dataloader)
    except ValueError:  # as numpy's, of a dataset without an image, which cannot be serialized
        for _, cfg in base_dataset_cfgs(dataloader.get('dataset')):
            if build_without_data(cfg) is not None:
                check_not_empty(DATASETS.build(dict(copy.deepcopy(cfg), serialize_data=False)))
        raise
    check_not_empty(loader.dataset)
    check_classes(runner, task, loader.dataset)
    if not isinstance(dataloader, dict):
        return loader
    changed, left_out = check_image_files(runner, task, loader, dataloader)
    if changed is not None:
        loader = build(changed)
    skip_unreadable = task == 'train' and not check_options(runner)['strict']
    loaders = tolerate_damage(loader.dataset, skip_unreadable)
    if task == 'train':
        runner.register_hook(LeftOutImagesHook(len(left_out), loaders, skip_unreadable))
    return loader
