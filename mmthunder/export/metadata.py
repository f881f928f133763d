"""Metadata of exported detectors."""

import json
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

from mmdet.datasets import CocoDataset
from mmdet.models.detectors import TwoStageDetector
from mmengine.config import Config

from mmthunder.apis import find_datasets
from mmthunder.runtime.metadata import FORMAT

from .input_spec import InputSpec

# COCO's 80 classes have ids with gaps.
COCO_IDS = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


def read_category_ids(path: Path, classes: Sequence[str]) -> Optional[List[Any]]:
    """Read the ids of classes from a COCO annotation file.

    Args:
        path (Path): The file.
        classes (Sequence[str]): Names of the classes.

    Returns:
        list, optional: Their ids; None if the file does not have all of them.

    Raises:
        ValueError: If it is no COCO annotation file, or has two categories of one name.
    """
    try:
        with open(path) as f:
            categories = [(category['name'], category['id']) for category in json.load(f)['categories']]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path}: not a COCO annotation file with categories that have name and id '
            f'({type(error).__name__}: {error})'
        ) from None
    for name in classes:
        if sum(name == other for other, _ in categories) > 1:
            raise ValueError(f'{path}: has several categories called {name!r}; give the ids with --category-ids')
    ids = dict(categories)
    return [ids[name] for name in classes] if set(classes) <= set(ids) else None


def find_category_ids(cfg: Config, dataset_meta: dict) -> Tuple[List[Any], Optional[str]]:
    """Find the dataset's ids of the classes.

    Args:
        cfg (Config): The config.
        dataset_meta (dict): That of the checkpoint: ``classes``, and ``category_ids`` if it has them.

    Returns:
        tuple[list, str]: The checkpoint's ids, otherwise those of the annotation file of the test, validation or
        training set; otherwise assumed ones: COCO's own for COCO's classes, and 1, 2, 3... for others. The second
        value is None, or a message that the ids are assumed.

    Raises:
        ValueError: If the checkpoint has another number of ids than classes.
    """
    classes = list(dataset_meta['classes'])
    ids = dataset_meta.get('category_ids')
    if ids is not None:
        if len(ids) != len(classes):
            raise ValueError(
                f'dataset_meta of the checkpoint has {len(ids)} category_ids for {len(classes)} classes; '
                'give the ids with --category-ids'
            )
        return list(ids), None
    for dataset in find_datasets(cfg, 'test', 'val', 'train'):
        path = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
        if path.suffix == '.json' and path.is_file():
            ids = read_category_ids(path, classes)
            if ids is not None:
                return ids, None
    is_coco = tuple(classes) == CocoDataset.METAINFO['classes']
    ids = COCO_IDS if is_coco else list(range(1, len(classes) + 1))
    kind = "COCO's" if is_coco else f'1 to {len(classes)}'
    return ids, (
        f'category_ids are assumed to be {kind}, since neither the checkpoint nor an annotation file has them; give '
        'them with --category-ids or --annotations'
    )


def make_metadata(detector: TwoStageDetector, spec: InputSpec) -> dict:
    """Collect the metadata that a runtime needs.

    Args:
        detector (TwoStageDetector): What :func:`load_detector` returns.
        spec (InputSpec): Input of the graph.

    Returns:
        dict: ``format``, ``classes``, ``category_ids``, ``pipeline`` (how images are read, resized and padded),
        ``score_thr``, ``max_per_img``, ``nms``, and, for information only, ``mean``, ``std`` and the name of the
        ``config``.
    """
    cfg, preprocessor = detector.roi_head.test_cfg, detector.data_preprocessor
    return dict(
        format=FORMAT,
        classes=list(detector.dataset_meta['classes']),
        category_ids=find_category_ids(detector.cfg, detector.dataset_meta)[0],
        pipeline=spec.preprocessing.to_list(),
        # Of softmax scores; mmdet takes other thresholds as well, such as -1.
        score_thr=min(max(cfg.score_thr, 0.0), 1.0),
        max_per_img=cfg.max_per_img,
        nms=dict(type='nms', iou_threshold=cfg.nms.iou_threshold),
        mean=preprocessor.mean.flatten().tolist() if preprocessor._enable_normalize else None,
        std=preprocessor.std.flatten().tolist() if preprocessor._enable_normalize else None,
        config=Path(detector.cfg.filename).name if detector.cfg.filename else None,
    )
