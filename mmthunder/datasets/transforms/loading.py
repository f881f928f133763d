"""Loading of images that are damaged."""

import errno
import logging
import re
from typing import Optional

import mmcv
import torch
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS
from mmengine import fileio
from mmengine.logging import print_log

END_OF_IMAGE = b'\xff\xd9'
# Markers that a length follows. Decoders skip anything else between segments, as fill bytes (0xff).
SEGMENT = re.compile(rb'\xff[^\x00\x01\xd0-\xd7\xff]')
# Errors that are those of one file, not of the disk or the network.
FILE_ERRORS = (
    None,
    errno.ENOENT,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EINVAL,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)


def is_cut_off(content: bytes) -> bool:
    """Return whether a JPEG file ends before its image does.

    Args:
        content (bytes): Content of the file.

    Returns:
        bool: Whether it is a JPEG file without an end marker after its header.
    """
    if content[:2] != b'\xff\xd8':
        return False
    # From segment to segment, since a thumbnail in one of them has an end marker of its own.
    start, marker = 0, SEGMENT.search(content, 2)
    while marker and marker[0] != b'\xff\xda':
        start = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], 'big')
        marker = SEGMENT.search(content, start)
    return content.find(END_OF_IMAGE, start) < 0


def is_of_the_file(error: Exception) -> bool:
    """Return whether an error on loading an image is that of its file, rather than of memory, disk or network.

    Args:
        error (Exception): The error. Those of decoders have any type; Pillow's and TurboJPEG's are an OSError without
            a number.
    """
    if isinstance(error, OSError):
        return error.errno in FILE_ERRORS and not type(error).__module__.startswith('urllib')
    return not isinstance(error, (ImportError, MemoryError))


@TRANSFORMS.register_module()
class LoadTruncatedImageFromFile(LoadImageFromFile):
    """mmcv's loader of images, which also loads what is there of a JPEG file that is cut off.

    What is missing is grey. OpenCV 4 does this by itself, OpenCV 5 does not.

    Args:
        args: Arguments of :class:`~mmcv.transforms.LoadImageFromFile`.
        skip_unreadable (bool): Whether to log files that are missing or cannot be decoded and return None instead of
            raising; mmengine's datasets then take another image. Defaults to False.
        kwargs: Arguments of :class:`~mmcv.transforms.LoadImageFromFile`.

    Attributes:
        num_skipped (Tensor): Number of times that a file was skipped, in all worker processes.
    """

    def __init__(self, *args, skip_unreadable: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.skip_unreadable = skip_unreadable
        self.num_skipped = torch.zeros((), dtype=torch.int64).share_memory_()
        self._named: set = set()

    @classmethod
    def like(cls, loader: LoadImageFromFile, skip_unreadable: bool = False) -> 'LoadTruncatedImageFromFile':
        """Make a loader with the options of another.

        Args:
            loader (LoadImageFromFile): The other loader.
            skip_unreadable (bool): Whether to skip files that cannot be decoded. Defaults to False.

        Returns:
            LoadTruncatedImageFromFile: The loader.
        """
        return cls(
            to_float32=loader.to_float32,
            color_type=loader.color_type,
            imdecode_backend=loader.imdecode_backend,
            backend_args=loader.backend_args,
            skip_unreadable=skip_unreadable or loader.ignore_empty,
        )

    def transform(self, results: dict) -> Optional[dict]:
        """Load an image.

        Args:
            results (dict): ``img_path``.

        Returns:
            dict, optional: ``img``, (H, W, C) or (H, W), ``img_shape`` and ``ori_shape``, (H, W); None if it is
            skipped.
        """
        try:
            loaded = super().transform(results)
        except Exception as error:  # decoders raise errors of many types
            loaded = self._load_in_part(results) if is_of_the_file(error) else None
            if loaded is None and not (self.skip_unreadable and is_of_the_file(error)):
                raise
        if loaded is None:
            self.num_skipped += 1
            path = results['img_path']
            if path not in self._named:
                self._named.add(path)
                print_log(f'{path}: missing or not a readable image; skipped', logger='current', level=logging.WARNING)
        return loaded

    def _load_in_part(self, results: dict) -> Optional[dict]:
        """Load an image that is cut off, if it is one."""
        try:
            content = fileio.get(results['img_path'], backend_args=self.backend_args)
            if not is_cut_off(content):
                return None
            image = mmcv.imfrombytes(content + END_OF_IMAGE, flag=self.color_type, backend=self.imdecode_backend)
        except Exception:  # of the decoder, again
            return None
        if image is None:
            return None
        if self.to_float32:
            image = image.astype('float32')
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return results
