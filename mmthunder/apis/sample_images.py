"""Images for comparing and timing detectors."""

import sys
from typing import List, Optional, Sequence

import cv2
import numpy as np
from mmdet.registry import DATASETS
from mmengine.config import Config

from .image_pipeline import ImagePipeline, find_datasets


def load_sample_images(
    cfg: Config, paths: Optional[Sequence[str]], count: int, pipeline: Optional[ImagePipeline] = None
) -> List[np.ndarray]:
    """Read the given images, the first images of the config's test set, or, if that is missing, generate images.

    A warning on stderr says if images are generated.

    Args:
        cfg (Config): The config; without a test set its validation set is used.
        paths (Sequence[str], optional): The images; None takes those of the test set.
        count (int): Number of images of the test set.
        pipeline (ImagePipeline, optional): What reads the images. Defaults to None, the config's.

    Returns:
        list[np.ndarray]: Images as the config's loader reads them, by default BGR, uint8, (H, W, 3).

    Raises:
        ValueError: If a given file is not an image.
        OSError: If a given file cannot be opened.
    """
    pipeline = pipeline or ImagePipeline(cfg)
    if paths is None:
        try:
            (dataset_cfg,) = find_datasets(cfg, 'test', 'val')[:1] or [None]
            if dataset_cfg is None:
                raise FileNotFoundError('the config has none')
            dataset = DATASETS.build(dataset_cfg)
            paths = [dataset.get_data_info(i)['img_path'] for i in range(min(count, len(dataset)))]
        except FileNotFoundError as error:
            print(f'warning: no test set ({error}); images of random rectangles are used instead', file=sys.stderr)
            return _draw(count, pipeline.describe().loader.channels)
    return [pipeline.read(path) for path in paths]


def _draw(count: int, channels: int) -> List[np.ndarray]:
    """Draw rectangles on noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 240, 320, 3), dtype=np.uint8)
    for image in images:
        for x, y, w, h in rng.integers(20, 200, (8, 4)).tolist():
            cv2.rectangle(image, (x, y), (x + w, y + h), rng.integers(0, 256, 3).tolist(), cv2.FILLED)
    return [image if channels == 3 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images]
