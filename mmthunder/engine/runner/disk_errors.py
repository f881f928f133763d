"""Readable errors of full disks and directories that cannot be written."""

import errno
import os
import os.path as osp
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)


def _existing(path: str) -> str:
    """Return the path itself or the nearest directory above it that exists."""
    path = osp.abspath(path)
    while not osp.exists(path):
        path = osp.dirname(path)
    return path


def _mount_point(path: str) -> str:
    """Return the directory at which the disk of a path is mounted."""
    path = osp.realpath(path)
    while not osp.ismount(path):
        path = osp.dirname(path)
    return path


def _room(path: str) -> str:
    """Describe the free space on the disk of a file."""
    path = _existing(path)
    usage = shutil.disk_usage(path)
    return f'{usage.free / 2**20:.1f} MB of {usage.total / 2**20:.0f} MB are free on the disk at {_mount_point(path)}'


def _is_within(path: str, directory: str) -> bool:
    """Whether a path is a directory or lies in it; on Windows it can be on another drive."""
    return Path(directory) in (Path(path), *Path(path).parents)


def _is_unreadable(path: str, work_dir: str) -> bool:
    """Whether a file in the work directory, or the directory that it is in, exists but cannot be read."""
    place = _existing(path)
    return not _is_within(work_dir, place) and not os.access(place, os.R_OK)


@contextmanager
def explain_disk_errors(work_dir: str) -> Iterator[None]:
    """Context manager that raises one clear error for a full disk or a work directory that cannot be written.

    Other errors pass, such as those of data that cannot be read, even if the data is in the work directory.

    Args:
        work_dir (str): Directory that the run writes to.

    Raises:
        OSError: With the same ``errno`` and a message that names the file, the disk, its free space and the remedy.
    """
    try:
        yield
    except OSError as error:
        directory = osp.abspath(work_dir)
        path = osp.abspath(error.filename) if error.filename else None
        if error.errno in NO_ROOM:
            if path is None:  # not in the error: of the directories that a run writes to, the one with less free space
                directories = [directory, tempfile.tempdir or directory]
                path = min(directories, key=lambda place: shutil.disk_usage(_existing(place)).free)
            message = (
                f'{path}: cannot be written: {error.strerror}; {_room(path)}; free some space, or give '
                'another --work-dir, and continue with --resume from the last checkpoint, which is complete'
            )
        elif (
            error.errno in NOT_WRITABLE
            and path is not None
            and (_is_within(path, directory) or _is_within(directory, path))
            and not _is_unreadable(path, directory)
        ):
            message = (
                f'{path}: cannot be written: {error.strerror}; make the work directory {directory} writable, or give '
                'another --work-dir'
            )
        else:
            raise
        raise OSError(error.errno, message) from None
