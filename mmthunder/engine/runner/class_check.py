"""Compares the class lists of a runner's datasets with each other and with the model."""

from typing import Any, Iterator, Sequence, Tuple

from mmcv.cnn import VGG
from mmdet.models.roi_heads.mask_heads import FusedSemanticHead
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import Dataset

from mmthunder.datasets import AnnotationError, config_classes, dataset_classes


def check_classes(runner: Runner, task: str, dataset: Dataset) -> None:
    """Check that a dataset and the model, and in training the training set, have the same classes.

    Args:
        runner (Runner): The runner.
        task (str): ``'train'``, ``'val'`` or ``'test'``.
        dataset (Dataset): The dataset of that task's data loader.

    Raises:
        AnnotationError: If the lists of classes differ, or a setting of the model has another length.
    """
    classes = dataset_classes(dataset)
    if classes is None:
        return
    key = f'{task}_dataloader'
    is_training = isinstance(runner._train_loop, BaseLoop)
    errors = list(find_model_errors(runner.model, classes, key))
    trained = None
    if is_training and task != 'train':
        trained = dataset_classes(runner.train_dataloader.dataset)
    elif errors and task != 'train':  # the config's training set, if the model is for its classes
        trained = config_classes(runner._train_dataloader)
        trained = trained if trained and not any(find_model_errors(runner.model, trained, key)) else None
    if trained and classes != trained:
        raise AnnotationError(
            f'{key} has the classes {classes}, but train_dataloader {trained}, by which the labels are numbered; set '
            f'metainfo=dict(classes={trained}) of the datasets of {key}'
        )
    if errors:
        raise AnnotationError(errors[0])


def _logits(head: nn.Module, loss: nn.Module, num_classes: int) -> int:
    """Return how many scores a head gives to its classification loss."""
    width = getattr(getattr(head, 'fc_cls', None), 'out_features', None) or getattr(head, 'cls_out_channels', None)
    return width or num_classes + (not getattr(loss, 'use_sigmoid', False))


def _score_thresholds(cfg: Any, key: str) -> Iterator[Tuple[str, Any]]:
    """Walk through the score thresholds of a config."""
    if isinstance(cfg, dict):
        for name, value in cfg.items():
            if name == 'score_thr':
                yield f'{key}.{name}', value
            else:
                yield from _score_thresholds(value, f'{key}.{name}')


def find_model_errors(model: nn.Module, classes: Sequence[str], key: str) -> Iterator[str]:
    """Find settings of a model that have another length than a class list.

    Args:
        model (nn.Module): The model.
        classes (Sequence[str]): The class list.
        key (str): The data loader with the class list, for messages.

    Yields:
        str: A line for each ``num_classes`` of a head, ``class_weight`` of a loss and list of ``score_thr``.
    """
    model = model.module if is_model_wrapper(model) else model
    for name, module in model.named_modules(prefix='model'):
        num_classes = getattr(module, 'num_classes', None)
        if type(num_classes) is int and not isinstance(module, (VGG, FusedSemanticHead)):
            # An RPN has one class of its own, whatever its name in the model.
            is_rpn = name.endswith('rpn_head') or 'RPN' in type(module).__name__
            if num_classes != len(classes) and not is_rpn:
                yield (
                    f'{name}.num_classes is {num_classes}, but {key} has {len(classes)} classes, {tuple(classes)}; '
                    f'set num_classes={len(classes)} for a model that is trained with these, or let '
                    f'metainfo=dict(classes=...) of its datasets list the {num_classes} that it was trained with'
                )
            for loss_name, loss in module.named_children():
                weights = getattr(loss, 'class_weight', None)
                width = _logits(module, loss, num_classes)
                if hasattr(weights, '__len__') and not isinstance(weights, str) and len(weights) != width:
                    order = ', that of the background last' if width == num_classes + 1 else ''
                    yield (
                        f'{name}.{loss_name}.class_weight has {len(weights)} values; expected {width}, one for each '
                        f'class of {key}{order}'
                    )
        for threshold_key, value in _score_thresholds(vars(module).get('test_cfg'), f'{name}.test_cfg'):
            is_list = isinstance(value, (list, tuple))
            if is_list and (len(value) != len(classes) or type(module).__module__.startswith(('mmdet.', 'mmthunder.'))):
                expected = f'{len(classes)} values, one for each class' if len(value) != len(classes) else 'one number'
                yield f'{threshold_key} has {len(value)} values; {type(module).__name__} expects {expected}'
