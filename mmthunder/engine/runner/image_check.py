"""Checks the image files of a runner's data loaders, and does without those that are damaged."""

import copy
import logging
import math
from typing import Dict, List, Optional, Sequence, Tuple, Union

import mmcv
from mmdet.engine.hooks import DetVisualizationHook
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmthunder.datasets import AnnotationError, base_dataset_cfgs, base_datasets
from mmthunder.datasets.image_files import MAX_IMAGES, ImageReport, check_images


def check_options(runner: Runner) -> dict:
    """Return the options of the check, ``dataset_check`` of the config, with their defaults.

    Raises:
        ValueError: If an option is unknown or has an invalid value.
    """
    valid = dict(images=('auto', True, False), strict=(False, True))
    options = {name: values[0] for name, values in valid.items()}
    given = runner.cfg.get('dataset_check') or {}
    for name, value in given.items() if isinstance(given, dict) else {None: given}.items():
        if name not in valid or not any(value is choice or value == choice == 'auto' for choice in valid[name]):
            raise ValueError(
                f'dataset_check is {given!r}; expected a dict of images, one of {valid["images"]}, and strict, one of '
                f'{valid["strict"]}'
            )
        options[name] = value
    return options


def check_image_files(
    runner: Runner, task: str, loader: DataLoader, dataloader: dict
) -> Tuple[Optional[dict], Dict[str, str]]:
    """Check the images of a data loader's datasets, and find a config without those that do not decode.

    The key ``dataset_check`` of the config is ``dict(images='auto', strict=False)`` by default: ``images`` is whether
    to decode all images, ``'auto'`` up to 50,000 in a dataset; ``strict`` is whether to refuse to train without the
    files that do not decode or with those that decode in part. Files that decode in part are loaded as far as they go.

    Args:
        runner (Runner): The runner.
        task (str): ``'train'``, ``'val'`` or ``'test'``.
        loader (DataLoader): The data loader.
        dataloader (dict): Its config.

    Returns:
        tuple[dict or None, dict[str, str]]: The config of the data loader without images that do not decode, None if
        there are none; and their paths with the reasons.

    Raises:
        AnnotationError: If an image of a validation or test set does not decode, images are not those that were
            annotated, or, with ``strict``, a training image does not decode or decodes in part.
    """
    options = check_options(runner)
    max_images = dict(auto=MAX_IMAGES).get(options['images'], math.inf if options['images'] else -1)
    bases, changed = list(base_datasets(loader.dataset)), copy.deepcopy(dataloader)
    cfgs = list(base_dataset_cfgs(changed.get('dataset'), f'{task}_dataloader.dataset'))
    left_out: Dict[str, str] = {}
    for base, (_, cfg) in zip(bases, cfgs if len(cfgs) == len(bases) else []):
        if not isinstance(base, BaseDataset):
            continue
        report = check_images(base, max_images)
        if not report.skipped:
            print_log(
                f'{base.ann_file}: {len(base)} images are checked; {report.num_decoded} files were decoded now, the '
                'others at an earlier start',
                logger='current',
            )
        elif options['images']:
            print_log(
                f'{base.ann_file}: the images are not checked, since {report.skipped}; see dataset_check in '
                'docs/data.md',
                logger='current',
                level=logging.WARNING,
            )
        for error in report.errors(task == 'train', options['strict']):
            raise AnnotationError(error)
        if task != 'train' and any(isinstance(hook, DetVisualizationHook) and hook.draw for hook in runner._hooks):
            _check_drawing(report)
        for warning in report.warnings(task == 'train'):
            print_log(warning, logger='current', level=logging.WARNING)
        if report.positions:
            left_out.update(report.unreadable)
            cfg['indices'] = _remaining(base, cfg.get('indices'), report.positions)
    return (changed, left_out) if left_out else (None, {})


def _check_drawing(report: ImageReport) -> None:
    """Refuse images that can be tested, but not drawn: mmdet's hook loads them with OpenCV alone."""
    for path in report.cut_off:
        if mmcv.imread(path) is None:
            raise AnnotationError(
                f'{path}: is cut off, so that mmdet cannot draw its detections; replace the file, or do without '
                '--show-dir and --show'
            )


def _remaining(dataset: BaseDataset, indices: Union[int, Sequence[int], None], positions: Sequence[int]) -> List[int]:
    """Remove positions of a dataset from its ``indices``."""
    left_out = set(positions)
    remaining = [i for i in range(len(dataset)) if i not in left_out]
    if isinstance(indices, int) and indices < 0:  # the last ones
        return [i - len(dataset) for i in remaining]
    return [indices[i] for i in remaining] if isinstance(indices, Sequence) else remaining
