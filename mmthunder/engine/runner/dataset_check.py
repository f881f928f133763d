"""Tells when a data set has no image, and when an evaluator does not read the annotations of its data set."""

import filecmp
import os.path as osp
from typing import Any, Iterator, Tuple

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset
from torch.utils.data import Dataset


def base_datasets(dataset: Dataset) -> Iterator[BaseDataset]:
    """Walk through the wrappers (repeat, concat, class balance) to the data sets themselves."""
    inner = getattr(dataset, 'datasets', None) or ([dataset.dataset] if hasattr(dataset, 'dataset') else [])
    if not inner:
        yield dataset
    for child in inner:
        yield from base_datasets(child)


def base_dataset_cfgs(cfg: Any, key: str = 'dataset') -> Iterator[Tuple[str, dict]]:
    """Walk through the wrappers' configs to those of the data sets themselves; what is no config is left out.

    Args:
        cfg (dict): Config of a data set, possibly wrapped.
        key (str): Its key, for ``--cfg-options``. Defaults to ``'dataset'``.

    Yields:
        tuple[str, dict]: Key and config of each data set.
    """
    if isinstance(cfg, dict):
        inner = {f'datasets.{i}': child for i, child in enumerate(cfg.get('datasets', []))}
        if 'dataset' in cfg:
            inner['dataset'] = cfg['dataset']
        if not inner:
            yield key, cfg
        for name, child in inner.items():
            yield from base_dataset_cfgs(child, f'{key}.{name}')


def check_not_empty(dataset: Dataset) -> None:
    """Look for data sets without an image, in which an endless sampler would look for one without end.

    Args:
        dataset (Dataset): A data set, possibly wrapped; those not derived from mmengine's are not checked.

    Raises:
        ValueError: If there is no image.
    """
    for base in base_datasets(dataset):
        if isinstance(base, BaseDataset) and not len(base):
            raise ValueError(
                f'{base.ann_file}: no image is left; the file lists none, or filter_cfg {base.filter_cfg} '
                f'leaves out all of them: those without objects of {base.metainfo.get("classes")} '
                '(filter_empty_gt) and those that are small (min_size)'
            )


def check_images(cfg: Any) -> None:
    """Look for data sets without an image or with an unreadable list, which mmengine's errors do not name.

    Args:
        cfg (dict): Config of a data set, possibly wrapped.

    Raises:
        ValueError: If a data set has no image left, or its list is no text.
    """
    for _, base_cfg in base_dataset_cfgs(cfg):
        base = DATASETS.build(dict(base_cfg, lazy_init=True))
        if isinstance(base, BaseDataset):
            base.serialize_data = False  # which fails without an image
            try:
                base.full_init()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f'{base.ann_file}: not readable as text ({error}); expected a name of an image in '
                    'each line, in UTF-8'
                ) from None
            check_not_empty(base)


def check_evaluator(task: str, dataloader: Any, evaluator: Any) -> None:
    """Compare the annotation file of an evaluator with that of the data set, where both are COCO's.

    mmdet compares nothing: with the annotations of other images it computes a wrong AP, or fails when
    all images have been seen.

    Args:
        task (str): ``'val'`` or ``'test'``.
        dataloader (dict): Config of the data loader.
        evaluator (dict or list[dict]): Config of the evaluator. What is built already is not checked, nor
            are data sets of several parts.

    Raises:
        ValueError: If the files differ, in place and in content.
    """
    key = f'{task}_evaluator'
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        key, evaluator = f'{key}.metrics', evaluator['metrics']
    metrics = {key: evaluator}
    if isinstance(evaluator, list):
        metrics = {f'{key}.{i}': metric for i, metric in enumerate(evaluator)}
    paths = {key: metric.get('ann_file') for key, metric in metrics.items() if isinstance(metric, dict)}
    paths = {key: path for key, path in paths.items() if path}
    cfgs = [cfg for _, cfg in base_dataset_cfgs(dataloader.get('dataset'))] if isinstance(dataloader, dict) else []
    if not paths or len(cfgs) != 1:
        return
    base = DATASETS.build(dict(cfgs[0], lazy_init=True))
    if not isinstance(base, CocoDataset) or not osp.isfile(base.ann_file):
        return
    for key, path in paths.items():
        if not (osp.isfile(path) and filecmp.cmp(path, base.ann_file, shallow=False)):
            raise ValueError(
                f'{key}.ann_file is {osp.normpath(path)}, but {task}_dataloader reads '
                f'{osp.normpath(base.ann_file)}; set {key}.ann_file={base.ann_file!r} in the config or '
                'with --cfg-options'
            )
