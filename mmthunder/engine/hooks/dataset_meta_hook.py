"""Saves the classes as the training saw them, and compares those of checkpoints with the datasets."""

from typing import Any, List, Optional

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner, find_latest_checkpoint

from mmthunder.datasets import AnnotationError, base_datasets, config_classes, dataset_classes


def category_ids(dataset: Any) -> Optional[List[Any]]:
    """Return the ids of a dataset's classes in its annotation file.

    Args:
        dataset (Dataset): A dataset, possibly wrapped; of several ones the first is taken.

    Returns:
        list, optional: An id for each class; None for annotations without ids, such as Pascal VOC's.
    """
    base = next(base_datasets(dataset))
    ids = getattr(base, 'cat_ids', None)
    return list(ids) if ids and len(ids) == len(base.metainfo['classes']) else None


@HOOKS.register_module()
class DatasetMetaHook(Hook):
    """Writes the ids of the classes into checkpoints, and refuses checkpoints of other classes.

    mmengine saves the training set's ``metainfo`` as ``meta['dataset_meta']``; this hook adds ``category_ids``, the ids
    of its classes in its COCO file. A checkpoint that is tested or resumed must have been trained with the classes of
    the dataset, in the same order; otherwise its labels would be taken for those of other classes. If a checkpoint
    does not name its classes, those of the config's training set are taken. Fine-tuning (``load_from``) may start from
    other classes.
    """

    priority = 'VERY_HIGH'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the ids, in place."""
        dataset_meta = checkpoint.get('meta', {}).get('dataset_meta')
        ids = category_ids(runner.train_dataloader.dataset) if isinstance(dataset_meta, dict) else None
        if ids is not None:
            checkpoint['meta']['dataset_meta'] = dict(dataset_meta, category_ids=ids)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the classes.

        Raises:
            AnnotationError: If the checkpoint was trained with other classes.
        """
        loops = dict(train=runner._train_loop, val=runner._val_loop, test=runner._test_loop)
        built = {task: loop for task, loop in loops.items() if isinstance(loop, BaseLoop)}
        if 'train' in built and not runner._resume:
            return
        path = runner._load_from or find_latest_checkpoint(runner.work_dir)
        dataset_meta = checkpoint.get('meta', {}).get('dataset_meta')
        trained = dataset_meta.get('classes') if isinstance(dataset_meta, dict) else None
        by_name = not isinstance(trained, (list, tuple))
        if by_name:
            path, trained = 'train_dataloader', config_classes(runner._train_dataloader) or ()
        for task, loop in built.items():
            classes = dataset_classes(loop.dataloader.dataset)
            # The config's training set may be that of another model, unless it has the same names.
            if classes is None or classes == tuple(trained) or (by_name and sorted(classes) != sorted(trained)):
                continue
            raise AnnotationError(
                f'{path}: the classes are {tuple(trained)}, by which the labels are numbered, but {task}_dataloader '
                f'has {classes}; set metainfo=dict(classes={tuple(trained)}) of the datasets of {task}_dataloader'
            )
