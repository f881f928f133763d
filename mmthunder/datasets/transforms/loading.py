"""Image loading whose errors name the file."""

import functools
from typing import Callable, Optional

import cv2
from mmcv.transforms import LoadImageFromFile


def naming_the_file(transform: Callable) -> Callable:
    """Make the errors of an image loader's ``transform`` name the file.

    Args:
        transform (Callable): The method.

    Returns:
        Callable: The method, with a ValueError for files that cannot be decoded.
    """

    @functools.wraps(transform)
    def transform_or_name(self, results: dict) -> Optional[dict]:
        try:
            return transform(self, results)
        except (cv2.error, AssertionError):
            raise ValueError(f'{results["img_path"]}: not a readable image; replace the file, or remove it from the '
                             'annotations') from None

    return transform_or_name


# mmcv 2.1 passes an empty file to OpenCV, whose error does not say which file it is. The class itself is changed, since
# mmdet's tools look for exactly this class in pipelines and pass over subclasses.
if not hasattr(LoadImageFromFile.transform, '__wrapped__'):
    LoadImageFromFile.transform = naming_the_file(LoadImageFromFile.transform)
