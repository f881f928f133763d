"""Image loading whose errors name the file."""

import functools
import os.path as osp
import re
import warnings
from typing import BinaryIO, Callable, Optional

import cv2
import numpy as np
from mmcv.transforms import LoadImageFromFile
from PIL import Image, UnidentifiedImageError

# Markers that a length follows. What else may be between segments, as fill bytes (0xff), decoders pass over too.
SEGMENT = re.compile(rb'\xff[^\x00\x01\xd0-\xd7\xff]')
# What mmcv's ways to decode raise, and mmengine for names that look like those of other storages.
UNREADABLE = (AssertionError, LookupError, NotImplementedError, ValueError, cv2.error, Image.DecompressionBombError)


def is_cut_off(file: BinaryIO) -> bool:
    """Tell whether a JPEG file ends before its image does.

    OpenCV fills what is missing with grey and says so only on standard error. Other formats it refuses.

    Args:
        file (BinaryIO): The file, open at its start. Of other formats only two bytes are read.

    Returns:
        bool: True if it is a JPEG file without an end marker after its header.
    """
    if file.read(2) != b'\xff\xd8':
        return False
    data = file.read()
    # From segment to segment, since a thumbnail in one of them has an end marker of its own.
    start, marker = 0, SEGMENT.search(data)
    while marker and marker[0] != b'\xff\xda':
        start = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], 'big')
        marker = SEGMENT.search(data, start)
    return data.find(b'\xff\xd9', start) < 0


def check_size(results: dict) -> None:
    """Compare the size of an image with what its annotations say.

    Args:
        results (dict): What mmdet's data sets give to a pipeline, with ``img`` loaded. Without annotations
            nothing is checked.

    Raises:
        ValueError: If the sizes differ and a box is outside of the image, so that the boxes are not of this image. If
            all boxes are inside, there is a warning.
    """
    height, width = results['img'].shape[:2]
    annotated = results.get('width', width), results.get('height', height)
    if annotated == (width, height):
        return
    message = (
        f'{results["img_path"]}: has {width}x{height} px, but its annotations say '
        f'{annotated[0]}x{annotated[1]} (width x height)'
    )
    boxes = np.array([instance['bbox'] for instance in results.get('instances', [])]).reshape(-1, 4)
    if (boxes < -1).any() or (boxes[:, 2] > width + 1).any() or (boxes[:, 3] > height + 1).any():
        raise ValueError(
            f'{message} and have boxes outside of it; put back the image that was annotated, which may '
            'have been turned or resized, or annotate this one'
        )
    warnings.warn(message, stacklevel=2)


def naming_the_file(transform: Callable) -> Callable:
    """Make the errors of an image loader's ``transform`` name the file, and make it check what it has loaded.

    Args:
        transform (Callable): The method.

    Returns:
        Callable: The method, with a ValueError for files that cannot be decoded, are cut off or are not those
        that were annotated.
    """

    @functools.wraps(transform)
    def transform_or_name(self, results: dict) -> Optional[dict]:
        path = results['img_path']
        try:
            loaded = transform(self, results)
        except (OSError, *UNREADABLE) as error:
            # Pillow and TurboJPEG raise OSErrors without a number; others are the disk's or the network's own.
            decoding = type(error) in (OSError, UnidentifiedImageError) and error.errno is None
            if isinstance(error, OSError) and not decoding:
                raise
            raise ValueError(
                f'{path}: not a readable image; replace the file, or remove it from the annotations'
            ) from None
        if loaded is not None:
            if osp.isfile(path):  # and not in another storage, where reading it once more takes its time
                with open(path, 'rb') as file:
                    if is_cut_off(file):
                        raise ValueError(
                            f'{path}: the image is cut off; replace the file, or remove it from the annotations'
                        )
            check_size(loaded)
        return loaded

    return transform_or_name


# mmcv 2.1 passes an empty file to OpenCV, whose error does not say which file it is. The class itself is changed, since
# mmdet's tools look for exactly this class in pipelines and pass over subclasses.
if not hasattr(LoadImageFromFile.transform, '__wrapped__'):
    LoadImageFromFile.transform = naming_the_file(LoadImageFromFile.transform)
