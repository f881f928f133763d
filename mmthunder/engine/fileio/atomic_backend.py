"""Files that are either whole or not there."""

import os
import os.path as osp
from contextlib import suppress
from pathlib import Path
from typing import Union

from mmengine.fileio import LocalBackend, register_backend

SUFFIX = '.partial'  # of files that are being written


@register_backend('atomic')
class AtomicBackend(LocalBackend):
    """mmengine's local files, written aside and then renamed.

    mmengine writes under the final name, so that a process killed meanwhile, or a full disk, leaves a cut
    file where a checkpoint was or should be. Selected by ``backend_args=dict(backend='atomic')``.
    """

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write a file, or leave what is there as it is.

        The bytes go to ``filepath`` with the suffix ``.partial``, which only a killed process leaves behind,
        and reach the disk before the file gets its name.

        Args:
            obj (bytes): The content.
            filepath (str or Path): The file; its folder is made if needed.

        Raises:
            OSError: If the file cannot be written; ``filename`` says which one, ``strerror`` how large it is.
        """
        partial = f'{filepath}{SUFFIX}'
        try:
            os.makedirs(osp.dirname(partial) or '.', exist_ok=True)
            with open(partial, 'wb') as f:
                f.write(obj)
                f.flush()
                os.fsync(f.fileno())
            os.replace(partial, filepath)
        except OSError as error:
            # Writing does not tell the file; no error tells how much there was to write.
            error.filename, error.filename2 = str(filepath), None
            error.strerror = f'{error.strerror} while writing {len(obj) / 2**20:.1f} MB'
            raise
        finally:
            with suppress(OSError):
                os.remove(partial)
