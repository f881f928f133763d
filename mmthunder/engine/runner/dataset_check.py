"""Tells which annotations cannot be read, and when a data set's class list does not match them."""

import json
import os.path as osp
import xml.etree.ElementTree as ET
from itertools import islice
from typing import Any, Iterator, Optional, Tuple

from mmdet.datasets import CocoDataset, XMLDataset
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset
from mmengine.fileio import list_from_file
from torch.utils.data import Dataset

# Reading the names of this many XML files tells a wrong class list from a rare class.
MAX_XML_FILES = 200


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


def annotation_error(cfg: Any) -> Optional[str]:
    """Find the first annotation file that cannot be parsed; mmdet's errors do not name it.

    Args:
        cfg (dict): Config of a COCO or Pascal VOC data set, possibly wrapped; others are passed over.

    Returns:
        str, optional: What is wrong with the file; None if all can be parsed.
    """
    for _, base_cfg in base_dataset_cfgs(cfg):
        base = DATASETS.build(dict(base_cfg, lazy_init=True))
        if isinstance(base, CocoDataset):
            paths, form = [base.ann_file], 'JSON'
        elif isinstance(base, XMLDataset):
            names = list_from_file(base.ann_file)
            paths, form = [osp.join(base.sub_data_root, base.ann_subdir, f'{name}.xml') for name in names], 'XML'
        else:
            continue
        for path in filter(osp.isfile, paths):
            try:
                with open(path, 'rb') as f:
                    json.load(f) if form == 'JSON' else ET.parse(f)
            except (ValueError, ET.ParseError) as error:
                return (f'{path}: not readable as {form} ({error}); the file is damaged or was cut off, so write or '
                        'download it again')
    return None


def check_classes(dataset: Dataset) -> None:
    """Compare the class list with the annotations.

    Args:
        dataset (Dataset): A COCO or Pascal VOC data set, possibly wrapped; others are not checked.

    Raises:
        ValueError: If a class of the list is not in the annotations while it should be.
    """
    for base in base_datasets(dataset):
        if isinstance(base, CocoDataset) and len(base.cat_ids) != len(base.metainfo['classes']):
            with open(base.ann_file) as f:
                names = [category['name'] for category in json.load(f)['categories']]
            missing = [name for name in base.metainfo['classes'] if name not in names]
            unused = [name for name in names if name not in base.metainfo['classes']]
            what = 'categories of'
        elif isinstance(base, XMLDataset):
            infos = (base.get_data_info(i) for i in range(len(base)))
            names = {
                obj.findtext('name')
                for info in islice(infos, MAX_XML_FILES) for obj in ET.parse(info['xml_path']).iter('object')
            }
            missing = [name for name in base.metainfo['classes'] if name not in names]
            unused = sorted(names - set(base.metainfo['classes']))
            # A class may be rare; a wrong name leaves a name of the files unused as well.
            missing = missing if unused else []
            what = 'objects listed by'
        else:
            continue
        if missing:
            raise ValueError(f'{type(base).__name__}: the classes {missing} of metainfo are not among the {what} '
                             f'{osp.normpath(base.ann_file)}, which has {unused} that metainfo does not; set '
                             "dataset.metainfo=dict(classes=(...)) in the config and the head's num_classes to match")
