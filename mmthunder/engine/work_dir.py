"""Checkpoints of a work directory, also after it was moved or copied.

mmengine records absolute paths in ``last_checkpoint`` and in the message hub. Here only their file names count.
"""

import os.path as osp
import re
from typing import Optional

from mmengine.runner import find_latest_checkpoint


def file_name(path: str) -> str:
    """Return the last part of a recorded path, which may be of another operating system."""
    return re.split(r'[\\/]', path.rstrip('\\/'))[-1]


def latest_checkpoint(work_dir: str) -> Optional[str]:
    """Find the checkpoint that ``--resume`` without a path resumes from.

    Args:
        work_dir (str): The work directory.

    Returns:
        str, optional: The checkpoint of the recorded name in ``work_dir``; if it is not there, the recorded path,
        which ``CheckpointHook(out_dir=...)`` can place elsewhere. None if the directory has no ``last_checkpoint``.

    Raises:
        FileNotFoundError: If there is no such checkpoint at either place.
    """
    recorded = find_latest_checkpoint(work_dir)
    if recorded is None:
        return None
    moved = osp.join(work_dir, file_name(recorded))
    if osp.exists(moved):
        return moved
    if '://' not in recorded and not osp.exists(recorded):
        raise FileNotFoundError(
            f'{osp.join(work_dir, "last_checkpoint")}: the checkpoint {file_name(recorded)} that it names is neither '
            f'beside it nor at {recorded}; give the path of a checkpoint to --resume'
        )
    return recorded
