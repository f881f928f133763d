"""Tells which file could not be written, on which disk, and what to do."""

import errno
import os
import os.path as osp
import shutil
import tempfile
from contextlib import contextmanager
from typing import Iterator

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)


def _existing(path: str) -> str:
    """Give the path itself or the nearest folder above it that exists."""
    path = osp.abspath(path)
    while not osp.exists(path):
        path = osp.dirname(path)
    return path


def _mount_point(path: str) -> str:
    """Give the folder at which the path's disk is mounted."""
    path = osp.realpath(path)
    while not osp.ismount(path):
        path = osp.dirname(path)
    return path


def _room(path: str) -> str:
    """Describe the disk of a file."""
    path = _existing(path)
    usage = shutil.disk_usage(path)
    return f'{usage.free / 2**20:.1f} MB of {usage.total / 2**20:.0f} MB are free on the disk at {_mount_point(path)}'


def _is_unreadable(path: str, work_dir: str) -> bool:
    """Tell whether a file below the work folder, or the folder that it is in, is there but cannot be read."""
    place = _existing(path)
    return osp.commonpath([place, work_dir]) != place and not os.access(place, os.R_OK)


@contextmanager
def explain_disk_errors(work_dir: str) -> Iterator[None]:
    """Make one clear error of a full disk and of a work folder that cannot be written.

    Other errors pass, as those of data that cannot be read, also if the data are in the work folder.

    Args:
        work_dir (str): Folder that the run writes to.

    Raises:
        OSError: The same kind of error with a message that names file, disk, free space and remedy.
    """
    try:
        yield
    except OSError as error:
        folder = osp.abspath(work_dir)
        path = osp.abspath(error.filename) if error.filename else None
        if error.errno in NO_ROOM:
            if path is None:  # the system does not tell: of the folders that a run writes to, the one with less room
                folders = [folder, tempfile.tempdir or folder]
                path = min(folders, key=lambda place: shutil.disk_usage(_existing(place)).free)
            message = (
                f'{path}: cannot be written: {error.strerror}; {_room(path)}; make room, or give '
                'another --work-dir, and go on with --resume from the last checkpoint, which is whole'
            )
        elif (
            error.errno in NOT_WRITABLE
            and path is not None
            and osp.commonpath([path, folder]) in (path, folder)
            and not _is_unreadable(path, folder)
        ):
            message = (
                f'{path}: cannot be written: {error.strerror}; make the work folder {folder} writable, or give '
                'another --work-dir'
            )
        else:
            raise
        raise OSError(error.errno, message) from None
