"""Loading of checkpoints as data: nothing that a file contains is executed."""

import errno
import os
import pickle
import re
import traceback
from contextlib import contextmanager
from typing import Iterator, Optional

from mmengine.runner.checkpoint import CheckpointLoader


class CheckpointError(ValueError):
    """A checkpoint is refused or cannot be read; the message names the file in one line."""


def _file_being_loaded(error: BaseException) -> Optional[str]:
    """Return the checkpoint whose loading raised an error, or None if the error has another origin."""
    loader = CheckpointLoader.load_checkpoint.__func__.__code__
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code is loader:
            return frame.f_locals['filename']
    return None


@contextmanager
def safe_loading() -> Iterator[None]:
    """Context manager under which mmengine loads tensors and plain values only.

    mmengine leaves ``weights_only`` to torch, whose default was unsafe before 2.6 and still is for URLs. Covered is
    everything that goes through :class:`~mmengine.runner.CheckpointLoader`: ``load_from``, ``resume``,
    ``init_cfg=dict(type='Pretrained')`` and :func:`mmengine.runner.load_checkpoint`, from local files and URLs.

    Raises:
        CheckpointError: If a checkpoint contains other objects than tensors and plain values, or is damaged.
    """
    forced = dict(TORCH_FORCE_WEIGHTS_ONLY_LOAD='1', TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD='0')
    before = {name: os.environ.get(name) for name in forced}
    os.environ.update(forced)
    try:
        yield
    except Exception as error:
        filename = _file_being_loaded(error)
        if filename is None:
            raise
        if isinstance(error, pickle.UnpicklingError):
            names = ' '.join(re.findall(r'(?:GLOBAL|class) ([\w.]+)', str(error))[:1])
            raise CheckpointError(
                f'{filename}: refused, since it is no file of PyTorch or holds objects other than tensors and plain '
                f'values{f" ({names})" if names else ""}, whose loading can run code; of a checkpoint of mmengine or a '
                'public one, tools/model_converters/convert.py keeps tensors and plain values'
            ) from None
        if isinstance(error, (OSError, ImportError)) and getattr(error, 'errno', None) != errno.EINVAL:
            raise  # no such file, no network, no storage backend: these errors say what is missing
        # The type of any other error depends on where the file is damaged.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f'{filename}: damaged, or no file of PyTorch ({reason}); take another checkpoint, or download it again'
        ) from None
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
