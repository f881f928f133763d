"""Reads images, folders of images and videos, and draws detections."""

from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence

import cv2
import numpy as np

from .detector import Detections

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')


class Frame(NamedTuple):
    """One picture of the input.

    Attributes:
        path (Path): The file.
        index (int, optional): Number of the frame in a video, from 0; None for an image.
        image (np.ndarray, optional): BGR, uint8, (H, W, 3); None if the file cannot be read.
    """

    path: Path
    index: Optional[int]
    image: Optional[np.ndarray]


def list_files(inputs: Sequence[str]) -> List[Path]:
    """Find the images and videos.

    Args:
        inputs (Sequence[str]): Files, and folders whose images are taken in the order of their names.

    Returns:
        list[Path]: The files.

    Raises:
        FileNotFoundError: If an input does not exist or a folder has no image.
        ValueError: If a file is neither an image nor a video, by its suffix.
    """
    files = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            # Links that lead nowhere are files as well, unreadable ones.
            found = sorted(
                file
                for file in path.iterdir()
                if file.suffix.lower() in IMAGE_SUFFIXES and (file.is_file() or file.is_symlink())
            )
            if not found:
                raise FileNotFoundError(f'{path}: no images in this folder (looked for {", ".join(IMAGE_SUFFIXES)})')
            files += found
        elif not path.exists():
            raise FileNotFoundError(f'{path}: no such file or folder')
        elif path.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES:
            files.append(path)
        else:
            raise ValueError(
                f'{path}: neither an image ({", ".join(IMAGE_SUFFIXES)}) nor a video ({", ".join(VIDEO_SUFFIXES)})'
            )
    return files


def is_video(path: Path) -> bool:
    """Tell whether a file is a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def count_frames(files: Sequence[Path]) -> int:
    """Count the pictures of the files, for the progress; videos as their headers say."""
    count = 0
    for path in files:
        if is_video(path):
            capture = cv2.VideoCapture(str(path))
            count += max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
            capture.release()
        else:
            count += 1
    return count


def read_image(path: Path) -> Optional[np.ndarray]:
    """Read an image: BGR, uint8, (H, W, 3); None if that is not possible, whatever the reason."""
    try:
        # From bytes, since OpenCV's own reading stumbles over some file names on Windows.
        data = np.fromfile(path, dtype=np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):  # the latter for instance from a header of more than 2**30 pixels
        return None


def read_frames(files: Sequence[Path]) -> Iterator[Frame]:
    """Read the files one picture at a time.

    Args:
        files (Sequence[Path]): Images and videos.

    Yields:
        Frame: Every image, every frame of a video, and one without a picture for an unreadable file.
    """
    for path in files:
        if not is_video(path):
            yield Frame(path, None, read_image(path))
            continue
        capture = cv2.VideoCapture(str(path))
        index = 0
        while True:
            read, image = capture.read()
            if not read:
                break
            yield Frame(path, index, image)
            index += 1
        capture.release()
        if not index:
            yield Frame(path, None, None)


def frame_rate(path: Path) -> float:
    """Tell the frames a second of a video, or 25 where its header does not."""
    capture = cv2.VideoCapture(str(path))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return rate if rate > 0 else 25.0


def draw(image: np.ndarray, detections: Detections, classes: Sequence[str], score_thr: float) -> np.ndarray:
    """Draw the detections with names and scores.

    Args:
        image (np.ndarray): BGR, uint8, (H, W, 3).
        detections (Detections): What was found in it.
        classes (Sequence[str]): Names of the labels.
        score_thr (float): Detections with lower scores are left out.

    Returns:
        np.ndarray: The picture, a copy.
    """
    picture = image.copy()
    thickness = max(1, round(min(image.shape[:2]) / 300))
    size = thickness * 0.45
    for box, score, label in zip(*detections):
        if score < score_thr:
            continue
        # Colours far apart on the wheel of hues, one for each class.
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
