"""Finds and reads images and videos, and draws detections."""

import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np

from .detector import Detections
from .preprocessing import LoadImageFromFile

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')


class InputFile(NamedTuple):
    """An image or a video.

    Attributes:
        path (Path): The file.
        name (str): Its name in the results, with ``/`` between directories: the path below the directory that was
            given. Where these are not unique, the path below the directory that all inputs are in.
    """

    path: Path
    name: str


class Frame(NamedTuple):
    """One picture of the input.

    Attributes:
        file (InputFile): The file.
        index (int, optional): Number of the frame in a video, from 0; None for an image.
        image (np.ndarray, optional): Uint8, BGR (H, W, 3) or grayscale (H, W); None if the file cannot be read.
    """

    file: InputFile
    index: Optional[int]
    image: Optional[np.ndarray]


def _list_images(directory: Path, skip: Optional[Path]) -> List[Path]:
    """List the images below a directory, without hidden directories and the directory ``skip``."""
    found = []
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(
            name
            for name in directories
            if not name.startswith('.') and (skip is None or Path(parent, name).resolve() != skip)
        )
        # Links that lead nowhere are files as well, unreadable ones.
        paths = sorted(Path(parent, name) for name in names)
        found += [
            path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and (path.is_file() or path.is_symlink())
        ]
    return found


def list_files(inputs: Sequence[str], skip: Optional[Path] = None) -> List[InputFile]:
    """Find the images and videos.

    Args:
        inputs (Sequence[str]): Files, and directories whose images are taken in the order of their names, with those
            of nested directories.
        skip (Path, optional): A directory below the given ones that is left out, the one for results. Defaults to
            None.

    Returns:
        list[InputFile]: The files.

    Raises:
        FileNotFoundError: If an input does not exist or a directory has no image.
        ValueError: If a file is neither an image nor a video, by its suffix, or is given twice.
    """
    found: List[Tuple[Path, Path]] = []
    for path in map(Path, inputs):
        if path.is_dir():
            images = _list_images(path, skip and skip.resolve())
            if not images:
                raise FileNotFoundError(f'{path}: no images in this directory (looked for {", ".join(IMAGE_SUFFIXES)})')
            found += [(path, image) for image in images]
        elif not path.exists():
            raise FileNotFoundError(f'{path}: no such file or directory')
        elif path.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES:
            found.append((path.parent, path))
        else:
            raise ValueError(
                f'{path}: neither an image ({", ".join(IMAGE_SUFFIXES)}) nor a video ({", ".join(VIDEO_SUFFIXES)})'
            )
    path, count = Counter(os.path.abspath(path) for _, path in found).most_common(1)[0]
    if count > 1:
        raise ValueError(f'{path}: given {count} times; give every file and directory once')
    files = [InputFile(path, path.relative_to(root).as_posix()) for root, path in found]
    if len({file.name for file in files}) < len(files):
        common = os.path.commonpath([os.path.abspath(root) for root, _ in found])
        files = [InputFile(path, Path(os.path.relpath(path, common)).as_posix()) for _, path in found]
    return files


def is_video(path: Path) -> bool:
    """Return whether a file is a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[cv2.VideoCapture]:
    """Open a video and close it at the end of the context, also if a generator that reads it is closed early."""
    capture = cv2.VideoCapture(str(path))
    try:
        yield capture
    finally:
        capture.release()


def count_frames(files: Sequence[InputFile]) -> int:
    """Count the pictures of the files, for the progress; those of videos as their headers say."""
    count = 0
    for path, _ in files:
        if is_video(path):
            with open_video(path) as capture:
                count += max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        else:
            count += 1
    return count


def read_frames(files: Sequence[InputFile], loader: LoadImageFromFile = LoadImageFromFile()) -> Iterator[Frame]:
    """Read the files one picture at a time.

    Args:
        files (Sequence[InputFile]): Images and videos.
        loader (LoadImageFromFile): How images are read, and whether frames of videos are made grayscale. Defaults to
            OpenCV's color images.

    Yields:
        Frame: Every image, every frame of a video, and one without a picture for an unreadable file.
    """
    for file in files:
        if not is_video(file.path):
            yield Frame(file, None, loader.read(file.path))
            continue
        index = 0
        with open_video(file.path) as capture:
            while True:
                read, image = capture.read()
                if not read:
                    break
                yield Frame(file, index, image if loader.channels == 3 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
                index += 1
        if not index:
            yield Frame(file, None, None)


def frame_rate(path: Path) -> float:
    """Return the frames per second of a video, or 25 where its header has none."""
    with open_video(path) as capture:
        rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if rate > 0 else 25.0


def draw(image: np.ndarray, detections: Detections, classes: Sequence[str], score_thr: float) -> np.ndarray:
    """Draw the detections with names and scores.

    Args:
        image (np.ndarray): Uint8, BGR (H, W, 3) or grayscale (H, W).
        detections (Detections): What was found in it.
        classes (Sequence[str]): Names of the labels.
        score_thr (float): Detections with lower scores are left out.

    Returns:
        np.ndarray: The picture, BGR, a copy.
    """
    picture = image.copy() if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    thickness = max(1, round(min(image.shape[:2]) / 300))
    size = thickness * 0.45
    for box, score, label in zip(*detections):
        if score < score_thr:
            continue
        # Colors far apart on the wheel of hues, one for each class.
        hue = np.uint8([[[int(label) * 67 % 180, 220, 230]]])
        color = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
        x1, y1, x2, y2 = (round(float(value)) for value in box)
        cv2.rectangle(picture, (x1, y1), (x2, y2), color, thickness)
        text = f'{classes[label]} {score:.2f}'
        (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
        top = max(y1 - height - base, 0)
        cv2.rectangle(picture, (x1, top), (x1 + width, top + height + base), color, cv2.FILLED)
        cv2.putText(picture, text, (x1, top + height), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), thickness)
    return picture
