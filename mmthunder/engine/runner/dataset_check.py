"""Tells when a data set's class list does not match its annotations."""

import json
import os.path as osp
import xml.etree.ElementTree as ET
from itertools import islice
from typing import Iterator

from mmdet.datasets import CocoDataset, XMLDataset
from mmengine.dataset import BaseDataset
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
