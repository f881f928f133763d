"""Checks the evaluators of a runner against the datasets of its data loaders."""

import filecmp
import os.path as osp
from collections import Counter
from typing import Any, Iterator, List, Tuple

from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.evaluator import DumpResults, Evaluator
from mmengine.runner import Runner

from mmthunder.datasets import AnnotationError, DatasetReport, base_dataset_cfgs, load_coco
from mmthunder.evaluation import ThunderCocoMetric

from .dataset_check import check_dataloader


def _replace_coco_metric(metric: Any) -> Any:
    """Replace mmdet's COCO metric by ours in the config of a metric."""
    if isinstance(metric, dict) and metric.get('type') in ('CocoMetric', 'mmdet.CocoMetric', CocoMetric):
        return dict(metric, type=ThunderCocoMetric)
    return metric


def _walk_metrics(key: str, evaluator: Any) -> Iterator[Tuple[str, Any]]:
    """Walk through an evaluator's metrics, configs or built ones, with their keys."""
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        key, evaluator = f'{key}.metrics', evaluator['metrics']
    elif isinstance(evaluator, Evaluator):
        key, evaluator = f'{key}.metrics', evaluator.metrics
    if isinstance(evaluator, (list, tuple)):
        for i, metric in enumerate(evaluator):
            yield f'{key}.{i}', metric
    elif evaluator is not None:
        yield key, evaluator


def _check_ann_file(key: str, path: str, task: str, reports: List[DatasetReport]) -> None:
    """Compare the annotation file of a metric with those of the datasets.

    mmdet compares nothing: with the annotations of other images it computes a wrong AP, or fails when all images have
    been tested.
    """
    if any(report.category_ids is None for report in reports):  # other annotations than COCO's
        return
    if len(reports) == 1:
        (expected,) = (report.ann_file for report in reports)
        is_same = osp.normpath(path) == osp.normpath(expected) or not osp.isfile(expected)  # in another storage
        if not is_same and not (osp.isfile(path) and filecmp.cmp(path, expected, shallow=False)):
            raise AnnotationError(
                f'{key}.ann_file is {osp.normpath(path)}, but {task}_dataloader reads '
                f'{osp.normpath(expected)}; set {key}.ann_file={expected!r} in the config or '
                'with --cfg-options'
            )
        return
    known = {image['id'] for image in load_coco(path)['images']}
    for report in reports:
        missing = [image_id for image_id in report.image_ids if image_id not in known]
        if missing:
            raise AnnotationError(
                f'{key}.ann_file is {osp.normpath(path)}, which has no image with id {missing[0]!r}, but '
                f'{report.key} has one in {report.ann_file}; set it to a file with all images, or to None to evaluate '
                "with the datasets' own annotations"
            )


def _check_metric(key: str, metric: Any, task: str, reports: List[DatasetReport], cfgs: List[dict]) -> None:
    """Check that a metric computes what its datasets ask for."""
    if isinstance(metric, dict):
        kind, option = metric.get('type'), metric.get
        kind = METRICS.get(kind) if isinstance(kind, str) else kind
    else:
        kind, option = type(metric), lambda name: getattr(metric, name, None)
    if not isinstance(kind, type) or issubclass(kind, DumpResults):
        return
    path = option('ann_file')
    is_coco, is_ours = issubclass(kind, CocoMetric), issubclass(kind, ThunderCocoMetric)
    has_file = bool(path) or getattr(metric, '_coco_api', None) is not None
    if path:
        _check_ann_file(key, path, task, reports)
    if is_coco and len(reports) > 1:
        (image_id, count), *_ = Counter(name for report in reports for name in report.image_ids).most_common(1)
        if count > 1:
            raise AnnotationError(
                f'{task}_dataloader: {" and ".join(report.ann_file for report in reports)} both have an image with id '
                f'{image_id!r}, which {key} takes for the same image; give the images of one file other ids'
            )
    advice = f"set {key}.type='ThunderCocoMetric' and {key}.ann_file={reports[0].ann_file!r}"
    for report, cfg in zip(reports, cfgs):
        if tuple(report.labels) != tuple(report.classes) and not (is_ours and has_file):
            raise AnnotationError(
                f'{report.ann_file}: the categories {tuple(report.labels)} are not in the order of metainfo, '
                f'{tuple(report.classes)}, so that {key}, a {kind.__name__}, would take them for other classes; '
                f'{advice}'
            )
        if is_ours or not is_coco or not has_file:
            continue
        ids = [category_id for category_id in report.category_ids or () if category_id is not None]
        reason = None
        if not report.pycocotools_ids:
            reason = 'has ids that are 0 or strings'
        elif cfg.get('indices') is not None or (cfg.get('filter_cfg') and not cfg.get('test_mode')):
            reason = f'has images that {report.key} leaves out (indices or filter_cfg)'
        elif option('classwise') and ids != sorted(ids):
            reason = f'has category ids that do not ascend, {ids}'
        if reason:
            raise AnnotationError(
                f'{report.ann_file}: {reason}, with which {key}, a {kind.__name__}, computes a wrong AP; {advice}'
            )


def find_evaluator_errors(task: str, evaluator: Any, reports: List[DatasetReport], cfgs: List[dict]) -> Iterator[str]:
    """Find metrics that would compute a wrong AP.

    Args:
        task (str): ``'val'`` or ``'test'``.
        evaluator (Evaluator, dict or list): The evaluator or its config.
        reports (list[DatasetReport]): Reports of the data loader's datasets, without errors.
        cfgs (list[dict]): Their configs.

    Yields:
        str: A line for each metric that reads another annotation file than the dataset, takes categories for other
        classes, or counts images that the dataset leaves out.
    """
    if reports and all(report.image_ids for report in reports):
        for key, metric in _walk_metrics(f'{task}_evaluator', evaluator):
            try:
                _check_metric(key, metric, task, reports, cfgs)
            except AnnotationError as error:
                yield str(error)


def replace_coco_metrics(evaluator: Any) -> Any:
    """Replace configs of mmdet's ``CocoMetric`` by those of :class:`~mmthunder.evaluation.ThunderCocoMetric`.

    Args:
        evaluator (Evaluator, dict or list): The evaluator or its config.

    Returns:
        Evaluator, dict or list: The same, with our metric; built metrics stay as they are.
    """
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        return dict(evaluator, metrics=replace_coco_metrics(evaluator['metrics']))
    if isinstance(evaluator, (list, tuple)):
        return list(map(_replace_coco_metric, evaluator))
    return _replace_coco_metric(evaluator)


def prepare_evaluator(runner: Runner, task: str) -> Any:
    """Check an evaluator against the datasets of its data loader, and evaluate with our COCO metric.

    Args:
        runner (Runner): The runner.
        task (str): ``'val'`` or ``'test'``.

    Returns:
        Evaluator, dict or list: The runner's evaluator or its config; see :func:`replace_coco_metrics`.

    Raises:
        AnnotationError: If a metric would compute a wrong AP; see :func:`find_evaluator_errors`.
    """
    dataloader, evaluator = getattr(runner, f'_{task}_dataloader'), getattr(runner, f'_{task}_evaluator')
    evaluator = replace_coco_metrics(evaluator)
    reports = check_dataloader(runner, task, dataloader)
    cfgs = [cfg for _, cfg in base_dataset_cfgs(dataloader.get('dataset'))] if reports else []
    for error in find_evaluator_errors(task, evaluator, reports, cfgs):
        raise AnnotationError(error)
    return evaluator
