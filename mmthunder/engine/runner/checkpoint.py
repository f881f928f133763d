"""Reads checkpoints as data: nothing that is in a file is run."""

import errno
import functools
import os
import pickle
import re
from contextlib import contextmanager
from typing import Any, Callable, Iterator

from mmengine.runner.checkpoint import CheckpointLoader


class CheckpointError(ValueError):
    """A checkpoint is refused or cannot be read; the message names the file in one line."""


@contextmanager
def _weights_only() -> Iterator[None]:
    """Make every torch.load safe, whatever its caller asks for.

    mmengine leaves ``weights_only`` to torch, whose default was unsafe before 2.6, and is for files from
    URLs to this day.
    """
    forced = dict(TORCH_FORCE_WEIGHTS_ONLY_LOAD='1', TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD='0')
    before = {name: os.environ.get(name) for name in forced}
    os.environ.update(forced)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def reading_only(load_checkpoint: Callable) -> Callable:
    """Make a loader of checkpoints run nothing from them and name the files that it cannot read.

    Args:
        load_checkpoint (Callable): ``CheckpointLoader.load_checkpoint``, which everything goes through:
            ``load_from``, ``resume``, ``init_cfg``, ``init_detector``, from local files and URLs.

    Returns:
        Callable: The same, with a :class:`CheckpointError` for files that hold anything else than tensors and plain
        values, or are damaged.
    """

    @functools.wraps(load_checkpoint)
    def load_only(cls, filename: str, *args, **kwargs) -> Any:
        try:
            with _weights_only():
                checkpoint = load_checkpoint(cls, filename, *args, **kwargs)
        except pickle.UnpicklingError as error:
            names = ' '.join(re.findall(r'(?:GLOBAL|class) ([\w.]+)', str(error))[:1])
            raise CheckpointError(
                f'{filename}: refused, since it is no file of PyTorch or holds objects other than tensors and plain '
                f'values{f" ({names})" if names else ""}, whose loading can run code; if it is a public one, convert '
                'it with tools/model_converters/convert.py'
            ) from None
        except Exception as error:  # what a damaged file raises depends on where the damage is
            if isinstance(error, (OSError, ImportError)) and getattr(error, 'errno', None) != errno.EINVAL:
                raise  # no such file, no network, no backend: these say what they miss
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointError(
                f'{filename}: damaged, or no file of PyTorch ({reason}); take another checkpoint, or download it again'
            ) from None
        meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
        if isinstance(meta, dict):
            # Runner.resume runs this text as a config, to look for gpu_ids, which nothing of mmengine's writes.
            meta.pop('config', None)
        return checkpoint

    return load_only


# The class itself is changed, since mmengine's and mmdet's functions call it by name.
if not hasattr(CheckpointLoader.load_checkpoint, '__wrapped__'):
    CheckpointLoader.load_checkpoint = classmethod(reading_only(CheckpointLoader.load_checkpoint.__func__))
