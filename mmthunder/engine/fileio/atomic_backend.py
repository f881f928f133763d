"""mmengine's file backend for files that are complete or not there."""

from pathlib import Path
from typing import Union

from mmengine.fileio import LocalBackend, register_backend

from mmthunder.utils.atomic_write import atomic_write


@register_backend('atomic')
class AtomicBackend(LocalBackend):
    """mmengine's local file backend with :func:`~mmthunder.utils.atomic_write.atomic_write`.

    mmengine writes under the final name, so that a killed process or a full disk leaves a truncated checkpoint.
    Selected by ``backend_args=dict(backend='atomic')``.
    """

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write a file; raises as :func:`~mmthunder.utils.atomic_write.atomic_write`."""
        atomic_write(filepath, obj)
