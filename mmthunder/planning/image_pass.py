"""One pass over the images: damage, size, color, a perceptual hash and small patches of the objects."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from mmthunder.datasets.image_files import CUT_OFF, check_image
from mmthunder.datasets.transforms.loading import LoadTruncatedImageFromFile

from .annotated_images import AnnotatedImage
from .frames import describe_size
from .require import require

HASH_SIZE = 16  # 16 x 16 = 256 bits
HASHED_PX = 64  # imagehash shrinks images to 4 * HASH_SIZE, slowly
PATCH_PX = 12
PATCHES = 8  # per image
LOADER = LoadTruncatedImageFromFile()  # as the runner loads images


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image once it is decoded.

    Attributes:
        damage (str | None): Why the image cannot be used, or None.
        cut_off (bool): Whether the file ends too early, so that a part of the image is missing.
        size (tuple[int, int]): Width and height in pixels of the loaded image.
        grey (bool): Whether its three channels are equal.
        hash (np.ndarray): The bits of its perceptual hash, bool, (256,).
        patches (np.ndarray): Its largest objects in grey, float32, (N, PATCH_PX, PATCH_PX).
        patch_labels (tuple[int]): Their classes.
    """

    damage: Optional[str] = None
    cut_off: bool = False
    size: Tuple[int, int] = (0, 0)
    grey: bool = False
    hash: Optional[np.ndarray] = None
    patches: Optional[np.ndarray] = None
    patch_labels: Tuple[int, ...] = ()


def _shrink(image: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def _perceptual_hash(grey: np.ndarray) -> np.ndarray:
    phash = require('imagehash', 'near-copies of images').phash
    return phash(Image.fromarray(_shrink(grey, HASHED_PX)), HASH_SIZE).hash.ravel()


def inspect_image(image: AnnotatedImage) -> ImageFacts:
    """Load an image as mmdet's default pipeline does and measure it.

    Args:
        image (AnnotatedImage): The image.

    Returns:
        ImageFacts: What was found.
    """
    info = dict(img_path=image.path)
    state = check_image(LOADER, info)
    if state.problem not in ('', CUT_OFF):
        return ImageFacts(damage=state.problem)
    pixels, width, height = info['img'], state.width, state.height
    x2, y2 = image.boxes[:, 2:].max(0, initial=0)
    if (width, height) != (image.width, image.height) and (x2 > width + 1 or y2 > height + 1):
        return ImageFacts(
            damage=f'{describe_size((width, height), (image.width, image.height))}, with boxes outside of the image'
        )
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    areas = (image.boxes[:, 2:] - image.boxes[:, :2]).prod(1) * ~image.ignored
    patches, labels = [], []
    for index in np.argsort(-areas, kind='stable')[:PATCHES]:
        x1, y1, x2, y2 = image.boxes[index].round().astype(int)
        patch = grey[max(y1, 0) : y2, max(x1, 0) : x2]
        if min(patch.shape) >= PATCH_PX // 2 and not image.ignored[index]:
            patches.append(_shrink(patch, PATCH_PX))
            labels.append(int(image.labels[index]))
    few = pixels[:: max(height // 64, 1), :: max(width // 64, 1)].astype(int)
    return ImageFacts(
        cut_off=state.problem == CUT_OFF,
        size=(width, height),
        grey=bool((np.ptp(few, axis=2) <= 2).all()),
        hash=_perceptual_hash(grey),
        patches=np.array(patches, np.float32).reshape(-1, PATCH_PX, PATCH_PX),
        patch_labels=tuple(labels),
    )


def inspect_images(images: Sequence[AnnotatedImage]) -> List[ImageFacts]:
    """Inspect images in threads, with a progress bar.

    Args:
        images (Sequence[AnnotatedImage]): The images.

    Returns:
        list[ImageFacts]: One for each image.
    """
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        facts = pool.map(inspect_image, images)
        return list(tqdm(facts, 'Inspecting images', total=len(images), unit='image'))
