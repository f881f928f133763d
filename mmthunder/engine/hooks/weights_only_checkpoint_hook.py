"""Checkpoints that PyTorch loads with ``weights_only=True``."""

from typing import Any

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

_HISTORY = '__history_buffer__'


def _to_plain(value: Any) -> Any:
    """Convert objects of mmengine and NumPy to tensors and builtins, recursively."""
    if isinstance(value, HistoryBuffer):
        log_history, count_history = value.data
        return {
            _HISTORY: value.max_length,
            'log': torch.as_tensor(log_history, dtype=torch.float64),
            'count': torch.as_tensor(count_history, dtype=torch.int64),
        }
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value) if value.dtype.kind in 'biuf' else value.tolist()
    if isinstance(value, dict):
        # Also of subclasses such as ConfigDict.
        return {key: _to_plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_to_plain(item) for item in value)
    return value


def _from_plain(value: Any) -> Any:
    """Rebuild a history buffer that :func:`_to_plain` converted."""
    if isinstance(value, dict) and _HISTORY in value:
        return HistoryBuffer(value['log'].tolist(), value['count'].tolist(), value[_HISTORY])
    return value


@HOOKS.register_module()
class WeightsOnlyCheckpointHook(Hook):
    """Saves checkpoints of tensors and builtins only.

    mmengine pickles its :class:`~mmengine.logging.HistoryBuffer` objects into checkpoints. ``torch.load`` refuses them
    with ``weights_only=True``, the default since torch 2.6, so that testing and resuming fail
    (open-mmlab/mmengine#1655). This hook converts the buffers on saving and rebuilds them on loading.
    """

    priority = 'LOWEST'  # converts what the other hooks have put into the checkpoint

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Convert the contents of the checkpoint, in place."""
        for key, value in checkpoint.items():
            if key != 'state_dict':
                checkpoint[key] = _to_plain(value)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Rebuild the history buffers, in place."""
        scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
        for key, value in scalars.items():
            scalars[key] = _from_plain(value)
