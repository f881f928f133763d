"""Image loading whose errors name the file."""

from typing import Optional

import cv2
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadNamedImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile``, which does not name an empty file that OpenCV refuses.

    Raises:
        ValueError: If the file cannot be decoded.
    """

    def transform(self, results: dict) -> Optional[dict]:
        """Load the image of ``results['img_path']``, as (H, W, 3)."""
        try:
            return super().transform(results)
        except (cv2.error, AssertionError):
            raise ValueError(f'{results["img_path"]}: not a readable image; replace the file, or remove it from the '
                             'annotations') from None
