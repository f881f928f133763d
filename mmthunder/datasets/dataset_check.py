"""The check of a dataset: its annotation files, their fields and its class list."""

import copy
import logging
import os.path as osp
import reprlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, List, Mapping, Optional, Sequence, Tuple

import cv2
import mmcv
from mmdet.datasets import CocoDataset, LVISV05Dataset, Objects365V1Dataset, Objects365V2Dataset, XMLDataset
from mmdet.datasets.api_wrappers import COCO, COCOPanoptic
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset
from mmengine.fileio import get, list_from_file
from mmengine.logging import print_log

from .annotation_error import AnnotationError
from .class_list import LOADERS, compare_with_annotations, find_list_error
from .coco_annotations import find_coco_errors, find_unused, no_garbage, read_coco
from .voc_annotations import parse_voc
from .wrappers import base_dataset_cfgs, dataset_classes

# Ways to load COCO files that number the labels in the order of the categories; a user's own may use another order.
MMDETS_ORDER = tuple(kind.load_data_list for kind in (CocoDataset, Objects365V1Dataset, Objects365V2Dataset))


@dataclass
class DatasetReport:
    """What the check of a dataset's annotations has found.

    Attributes:
        key (str): Key of the dataset in the config.
        ann_file (str): Path of its annotation file or list.
        classes (Sequence[str]): Its class list.
        labels (Sequence[str]): Names of the classes in the order in which mmdet numbers the labels of its objects.
        category_ids (list, optional): Ids of the classes in its annotation file, None for those that it lacks; None
            for annotations without ids.
        image_ids (Sequence): Ids of the images in its annotations, before any filter.
        counts (Mapping[str, int]): Number of objects of each name in its annotations.
        pycocotools_ids (bool): Whether pycocotools can evaluate with the ids of the file as they are.
        is_checked (bool): Whether the check knows this kind of annotations.
        errors (list[str]): What is wrong, a line each.
        warnings (list[str]): What is unusual, a line each.
    """

    key: str
    ann_file: str = ''
    classes: Sequence[str] = ()
    labels: Sequence[str] = ()
    category_ids: Optional[List[Any]] = None
    image_ids: Sequence[Any] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    pycocotools_ids: bool = True
    is_checked: bool = True
    errors: List[str] = field(default_factory=list)
    warnings: List[str] = field(default_factory=list)

    def raise_errors(self) -> None:
        """Log the warnings and raise the first error.

        Raises:
            AnnotationError: If there is an error.
        """
        for warning in self.warnings:
            print_log(warning, logger='current', level=logging.WARNING)
        if self.errors:
            others = f' (the first of {len(self.errors)} errors)' if len(self.errors) > 1 else ''
            raise AnnotationError(self.errors[0] + others)


def build_without_data(cfg: dict) -> Optional[BaseDataset]:
    """Build a dataset without reading its annotations.

    Args:
        cfg (dict): Config of a dataset, not of a wrapper.

    Returns:
        BaseDataset, optional: The dataset, whose paths and class list are known; None for other kinds than mmengine's
        and for those that cannot be built so.
    """
    kind = cfg.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(kind, type) and issubclass(kind, BaseDataset)):
        return None
    try:
        return DATASETS.build(dict(copy.deepcopy(cfg), lazy_init=True))
    except TypeError:  # of a user's class that does not take lazy_init; a faulty config fails when it is built
        return None


def config_classes(dataloader: Any) -> Optional[Tuple[str, ...]]:
    """Return the class list of the datasets of a data loader, without reading their annotations.

    Args:
        dataloader (dict): Config of the data loader.

    Returns:
        tuple[str], optional: The names; None if there is no such list, or code or files that it needs are missing.
    """
    try:
        bases = [build_without_data(cfg) for _, cfg in base_dataset_cfgs(dataloader['dataset'])]
        lists = {dataset_classes(base) for base in bases}
    except Exception:  # a test needs no training set, nor what building one needs
        return None
    return lists.pop() if len(lists) == 1 else None


@no_garbage()
def _check_coco(report: DatasetReport, dataset: CocoDataset, training: bool) -> None:
    """Check a COCO file and its class list."""
    try:
        content = read_coco(dataset.ann_file, dataset.backend_args)
    except AnnotationError as error:
        report.errors.append(str(error))
        return
    report.errors.extend(find_coco_errors(dataset.ann_file, content))
    if report.errors:
        return
    path, categories, annotations = dataset.ann_file, content['categories'], content.get('annotations', [])
    report.image_ids = [image['id'] for image in content['images']]
    if 'annotations' not in content:
        report.warnings.append(f'{path}: has no annotations')
    unused = find_unused(content)
    if unused:
        report.warnings.append(
            f'{path}: {len(unused)} of {len(annotations)} annotations are not used, since their boxes are outside of '
            f'the image, have a side below 1 px or have no area; their ids are {reprlib.repr(unused)}'
        )
    if isinstance(dataset, Objects365V1Dataset):  # which sorts them
        categories = sorted(categories, key=lambda category: category['id'])
    names = {category['id']: category['name'] for category in categories}
    objects = Counter(annotation['category_id'] for annotation in annotations)
    report.counts = {name: objects[key] for key, name in names.items()}
    if type(dataset).load_data_list in MMDETS_ORDER:
        report.labels = tuple(name for name in names.values() if name in report.classes)
    ids = {name: key for key, name in names.items()}
    report.category_ids = [ids.get(name) for name in report.classes]
    report.pycocotools_ids = all(
        len({type(entry['id']) for entry in content[section]}) < 2 for section in ('images', 'categories')
    ) and all(type(annotation['id']) is int and annotation['id'] for annotation in annotations)
    in_order = training and type(dataset).load_data_list in MMDETS_ORDER
    error, warning = compare_with_annotations(path, report.classes, report.counts, 'categories', in_order)
    if not error and training and report.labels != tuple(report.classes):
        error = (
            f'{path}: metainfo lists the classes {tuple(report.classes)}, but mmdet numbers the labels in the order '
            f'of the categories; set metainfo=dict(classes={report.labels}) of the datasets of {LOADERS}; or, if these '
            'have training files in different orders, list the categories of the files in the order of metainfo'
        )
    report.errors.extend(filter(None, [error]))
    report.warnings.extend(filter(None, [warning]))


def _check_voc(report: DatasetReport, dataset: XMLDataset, training: bool) -> None:
    """Check the VOC files of a list and the class list."""
    try:
        names = list_from_file(dataset.ann_file, backend_args=dataset.backend_args)
    except UnicodeDecodeError as error:
        report.errors.append(
            f'{dataset.ann_file}: not readable as text ({error}); expected a name of an image in each line, in UTF-8'
        )
        return
    counts: Counter = Counter()
    for name in names:
        path = osp.join(dataset.sub_data_root, dataset.ann_subdir, f'{name}.xml')
        image = osp.join(dataset.sub_data_root, dataset.img_subdir, f'{name}.jpg')
        try:
            root = parse_voc(path, get(path, backend_args=dataset.backend_args))
            counts.update(element.findtext('name') for element in root.findall('object'))
            if root.find('size') is None:  # mmdet then reads the image, for its size
                if mmcv.imfrombytes(get(image, backend_args=dataset.backend_args), backend='cv2') is None:
                    report.errors.append(_without_size(path, image))
        except AnnotationError as error:
            report.errors.append(str(error))
        except FileNotFoundError as error:
            if osp.normpath(error.filename or path) == osp.normpath(path):
                report.errors.append(f'{path}: no such file; remove {name!r} from {dataset.ann_file}, or put it there')
            else:
                report.errors.append(_without_size(path, image))
        except cv2.error:
            report.errors.append(_without_size(path, image))
        except (KeyError, ValueError):  # names with zero bytes, and those that look like other storages'
            report.errors.append(f'{path!r}: not the name of a file; correct {dataset.ann_file}')
    report.image_ids, report.counts = names, counts
    report.labels = tuple(report.classes)
    if not report.errors:
        path = osp.normpath(dataset.ann_file)
        error, warning = compare_with_annotations(path, report.classes, counts, 'objects', training)
        report.errors.extend(filter(None, [error]))
        report.warnings.extend(filter(None, [warning]))


def _without_size(path: str, image: str) -> str:
    return f'{path}: has no size, and the image {image} is missing or not readable; replace the image, or remove both'


def check_dataset(cfg: dict, training: bool = True, key: str = 'dataset') -> DatasetReport:
    """Check the annotations of a dataset and its class list, without building it.

    Checked are datasets in COCO's layout (:class:`~mmdet.datasets.CocoDataset` and its subclasses with the same
    annotations) and in Pascal VOC's (:class:`~mmdet.datasets.XMLDataset` and its subclasses).

    Args:
        cfg (dict): Config of the dataset, not of a wrapper; see :func:`base_dataset_cfgs`.
        training (bool): Whether it is trained on, so that the labels must be in the order of the class list.
            Defaults to True.
        key (str): Its key in the config, for the report. Defaults to ``'dataset'``.

    Returns:
        DatasetReport: Errors, warnings, and counts of images and objects.

    Raises:
        FileNotFoundError: If the annotation file or list is missing.
    """
    dataset = build_without_data(cfg)
    if dataset is None:
        return DatasetReport(key, is_checked=False)
    classes = dataset.metainfo.get('classes', ())
    report = DatasetReport(key, dataset.ann_file, classes, classes)
    coco_api = getattr(dataset, 'COCOAPI', type(None))
    is_coco = isinstance(dataset, CocoDataset) and not isinstance(dataset, LVISV05Dataset)
    if is_coco and issubclass(coco_api, COCO) and not issubclass(coco_api, COCOPanoptic):
        check = _check_coco
    elif isinstance(dataset, XMLDataset):
        check = _check_voc
    else:
        report.is_checked = False
        return report
    error = find_list_error(classes)
    palette = (cfg.get('metainfo') or {}).get('palette')
    if not error and isinstance(palette, (list, tuple)) and len(palette) != len(classes):
        error = f'metainfo.palette has {len(palette)} colors; expected {len(classes)}, one for each class'
    if error:
        report.errors.append(f'{key}: {error}')
        return report
    report.classes = report.labels = tuple(classes)
    check(report, dataset, training)
    return report
