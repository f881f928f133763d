"""Walks through the wrappers of datasets."""

from typing import Any, Iterator, Optional, Tuple

from mmengine.dataset import BaseDataset
from torch.utils.data import Dataset


def base_datasets(dataset: Dataset) -> Iterator[BaseDataset]:
    """Walk through the wrappers (repeat, concat, class balance, image mix) to the datasets themselves.

    Args:
        dataset (Dataset): A dataset, possibly wrapped.

    Yields:
        BaseDataset: Each dataset, in the order of :func:`base_dataset_cfgs`.
    """
    inner = getattr(dataset, 'datasets', None)
    for name in ('dataset', '_dataset'):  # the latter of mmengine's wrapper for num_batch_per_epoch
        inner = inner or [getattr(dataset, name)] if hasattr(dataset, name) else inner
    if not inner:
        yield dataset
    for child in inner or ():
        yield from base_datasets(child)


def base_dataset_cfgs(cfg: Any, key: str = 'dataset') -> Iterator[Tuple[str, dict]]:
    """Walk through the configs of wrappers to those of the datasets themselves; built objects are skipped.

    Args:
        cfg (dict): Config of a dataset, possibly wrapped.
        key (str): Its key, for ``--cfg-options``. Defaults to ``'dataset'``.

    Yields:
        tuple[str, dict]: Key and config of each dataset.
    """
    if isinstance(cfg, dict):
        inner = {f'datasets.{i}': child for i, child in enumerate(cfg.get('datasets', []))}
        if 'dataset' in cfg:
            inner['dataset'] = cfg['dataset']
        if not inner:
            yield key, cfg
        for name, child in inner.items():
            yield from base_dataset_cfgs(child, f'{key}.{name}')


def dataset_classes(dataset: Dataset) -> Optional[Tuple[str, ...]]:
    """Return the class list of a dataset.

    Args:
        dataset (Dataset): A dataset, possibly wrapped.

    Returns:
        tuple[str], optional: The names; None if there is no list, if the parts of the dataset have different ones, as
        for training with several tasks, or if classes are given to the model as text.
    """
    lists = set()
    for base in base_datasets(dataset):
        if not isinstance(base, BaseDataset) or getattr(base, 'return_classes', False):
            return None
        lists.add(tuple(base.metainfo.get('classes') or ()))
    return lists.pop() or None if len(lists) == 1 else None
