"""What a data set in a directory consists of."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Collection, Iterator, List, Optional, Tuple

from ..planning_error import PlanningError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
SPLIT_NAMES = dict(
    train=('train', 'training', 'trainval'),
    val=('val', 'valid', 'validation', 'dev', 'eval'),
    test=('test', 'testing'),
)


@dataclass(frozen=True)
class Part:
    """Where the images and annotations of one split are.

    Attributes:
        annotations (Path): COCO: the JSON file. VOC: the list of image ids in ``ImageSets/Main``. Otherwise the
            directory or list that the pairs come from.
        images (Path): Directory that image names are relative to.
        pairs (tuple): Image files and the annotation file of each, or None for an image without one; of formats with
            one annotation file per image.
    """

    annotations: Path
    images: Path
    pairs: Tuple[Tuple[Path, Optional[Path]], ...] = ()


@dataclass(frozen=True)
class Layout:
    """A data set as it lies in a directory.

    Attributes:
        format (str): ``'coco'`` or ``'voc'``, which mmdet reads, or ``'xml'`` (Pascal VOC annotations in another
            arrangement) or ``'yolo'``, which are imported.
        root (Path): The directory.
        train (Part): The training split.
        val (Part, optional): The validation split, if there is one.
        classes (tuple[str]): The class list where the layout has one apart from the annotations (YOLO).
        unused (tuple[str]): Parts that take no part in training or validation, for messages.
        keypoints (int): How many numbers of keypoints follow each box in the labels (YOLO).
    """

    format: str
    root: Path
    train: Part
    val: Optional[Part] = None
    classes: Tuple[str, ...] = ()
    unused: Tuple[str, ...] = ()
    keypoints: int = 0


@dataclass(frozen=True)
class Parts:
    """Parts of a data set that the user named, each a path or None."""

    train_annotations: Optional[Path] = None
    train_images: Optional[Path] = None
    val_annotations: Optional[Path] = None
    val_images: Optional[Path] = None


def split_of(name: str) -> Optional[str]:
    """Return the split that a file or directory name speaks of.

    Args:
        name (str): For example ``'instances_val2017'`` or ``'valid'``.

    Returns:
        str | None: ``'train'``, ``'val'``, ``'test'``, or None.
    """
    words = re.split('[^a-z]+', name.lower())
    return next((split for split, names in SPLIT_NAMES.items() if any(word in names for word in words)), None)


def split_of_path(path: Path, root: Path) -> Optional[str]:
    """Return the split that the directories between a root and a file speak of; the innermost one counts."""
    names = path.relative_to(root).parts[:-1]
    return next((split for split in map(split_of, reversed(names)) if split), None)


def is_hidden(path: Path, root: Path) -> bool:
    """Return whether a path below a root is hidden, as Jupyter's copies of files and what macOS adds to archives."""
    return any(name.startswith('.') or name == '__MACOSX' for name in path.relative_to(root).parts)


def files_below(directory: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Walk through the files of some suffixes below a directory in a fixed order, without hidden ones."""
    for path in sorted(directory.rglob('*')):
        if path.suffix.lower() in suffixes and not is_hidden(path, directory):
            yield path


def image_files(directory: Path) -> Iterator[Path]:
    """Walk through the image files below a directory in a fixed order."""
    return files_below(directory, IMAGE_SUFFIXES)


def read_lines(path: Path) -> List[str]:
    """Read the lines of a text file that are not blank, without blanks around them.

    Args:
        path (Path): The file.

    Returns:
        list[str]: The lines.

    Raises:
        PlanningError: If it is not text in UTF-8.
    """
    try:
        lines = path.read_text(encoding='utf-8-sig').split('\n')
    except UnicodeDecodeError as error:
        raise PlanningError(f'{path}: not readable as text ({error}); save it in the encoding UTF-8') from None
    return [line.strip() for line in lines if line.strip()]


def short_list(paths: List[Path], root: Path) -> str:
    """Join at most four paths for a message, relative to the root."""
    names = [str(path.relative_to(root)) if root in path.parents else str(path) for path in paths]
    more = f' and {len(names) - 4} more' if len(names) > 4 else ''
    return ', '.join(names[:4]) + more
