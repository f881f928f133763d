"""Sizes of images as they are loaded, and boxes of photographs that are stored in another orientation."""

import contextlib
from pathlib import Path
from typing import Iterator, List, NamedTuple, Tuple

import numpy as np
from PIL import Image

ORIENTATION = 0x0112  # EXIF tag
TURNED = (5, 6, 7, 8)  # its values that turn the image by 90 degrees


class Frame(NamedTuple):
    """The frame of an image.

    Attributes:
        size (tuple[int, int]): Width and height in pixels, as it is loaded.
        orientation (int): Its EXIF orientation, from 1 to 8; 1 is that in which it is stored.
    """

    size: Tuple[int, int]
    orientation: int

    def is_turned(self, annotated: Tuple[float, float]) -> bool:
        """Return whether annotations are of the file before it is turned by 90 degrees.

        Args:
            annotated (tuple[float, float]): Width and height that they say.
        """
        return self.orientation in TURNED and annotated == self.size[::-1] != self.size

    def contains(self, boxes: np.ndarray) -> bool:
        """Return whether boxes are in the image, but for a pixel.

        Args:
            boxes (np.ndarray): (x1, y1, x2, y2), (N, 4).
        """
        return bool((np.asarray(boxes)[:, 2:] <= np.array(self.size) + 1).all())

    def turn(self, boxes: np.ndarray) -> np.ndarray:
        """Turn boxes from pixels of the file into those of the image as it is loaded.

        Args:
            boxes (np.ndarray): (x1, y1, x2, y2), (N, 4).

        Returns:
            np.ndarray: The same boxes, (N, 4).
        """
        (width, height), orientation = self
        x1, y1, x2, y2 = np.asarray(boxes)[:, [1, 0, 3, 2]].T
        if orientation in (6, 7):
            x1, x2 = width - x2, width - x1
        if orientation in (7, 8):
            y1, y2 = height - y2, height - y1
        return np.stack([x1, y1, x2, y2], axis=1)


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Lift Pillow's limit of pixels, which is of images that are decoded."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def read_frame(image: Path) -> Frame:
    """Read the frame of an image file, without decoding it.

    Args:
        image (Path): The file.

    Returns:
        Frame: The frame.

    Raises:
        OSError: If it is no image, or not there.
    """
    try:
        with _any_size(), Image.open(image) as file:
            orientation = file.getexif().get(ORIENTATION, 1)
            return Frame(file.size[::-1] if orientation in TURNED else file.size, orientation)
    except SyntaxError as error:  # of a damaged PNG
        raise OSError(str(error)) from None


def describe_size(size: Tuple[int, int], annotated: Tuple[float, float], source: str = 'its annotations say') -> str:
    """Say that an image has another size than annotated.

    Args:
        size (tuple[int, int]): Width and height in pixels.
        annotated (tuple[float, float]): Width and height according to the annotations.
        source (str): The annotations, with a verb. Defaults to ``'its annotations say'``.

    Returns:
        str: What follows the image's name.
    """
    return f'has {size[0]}x{size[1]} px, but {source} {annotated[0]:g}x{annotated[1]:g}'


def describe_other_sizes(images: List[str]) -> List[str]:
    """Return the note on images of another size than annotated, if there are any.

    Args:
        images (list[str]): What is said of each.

    Returns:
        list[str]: One note, or none.
    """
    if not images:
        return []
    return [f'{len(images)} images have another size than annotated, so check their boxes in samples.jpg: {images[0]}']
