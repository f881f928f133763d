"""Images to compare or to time detectors on."""

import sys
from typing import List, Optional, Sequence

import cv2
import numpy as np
from mmdet.registry import DATASETS
from mmengine.config import Config


def load_sample_images(cfg: Config, paths: Optional[Sequence[str]], count: int) -> List[np.ndarray]:
    """Read the given images, or the first ones of the config's test set, or draw some if that is not there.

    A line on stderr tells of drawn ones.

    Args:
        cfg (Config): The config.
        paths (Sequence[str], optional): The images; None takes those of the test set.
        count (int): How many of the test set.

    Returns:
        list[np.ndarray]: Images in BGR, uint8, (H, W, 3).

    Raises:
        ValueError: If a given file is not an image.
    """
    if paths is None:
        try:
            dataset = DATASETS.build(cfg.test_dataloader.dataset)
            paths = [dataset.get_data_info(i)['img_path'] for i in range(min(count, len(dataset)))]
        except FileNotFoundError as error:
            print(f'warning: no test set ({error}); drawn images are taken instead', file=sys.stderr)
            return _draw(count)
    images = [cv2.imread(path) for path in paths]
    for path, image in zip(paths, images):
        if image is None:
            raise ValueError(f'{path}: not a readable image')
    return images


def _draw(count: int) -> List[np.ndarray]:
    """Draw rectangles on noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 240, 320, 3), dtype=np.uint8)
    for image in images:
        for x, y, w, h in rng.integers(20, 200, (8, 4)).tolist():
            cv2.rectangle(image, (x, y), (x + w, y + h), rng.integers(0, 256, 3).tolist(), cv2.FILLED)
    return list(images)
