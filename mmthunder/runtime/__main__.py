"""Command line of the runtime: images in, detections as JSON and pictures out."""

import argparse
import json
import os
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np

from .detector import Detections, Detector
from .errors import ModelFileError
from .media import Frame, InputFile, count_frames, draw, frame_rate, is_video, list_files, read_frames
from .sessions import BACKENDS, PRECISIONS


def _common_suffix(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the number of equal parts at the end of two paths."""
    count = 0
    for left, right in zip(reversed(first), reversed(second)):
        if left != right:
            break
        count += 1
    return count


def read_image_ids(files: Sequence[InputFile], annotations: str) -> Dict[Path, Any]:
    """Find the ids of images in an annotation file.

    An image belongs to the entry whose ``file_name``, with its directories, is the end of its path. If there is none,
    it belongs to the entry with the longest common end, and a warning says so.

    Args:
        files (Sequence[InputFile]): The files.
        annotations (str): COCO annotation file.

    Returns:
        dict[Path, Any]: The ids.

    Raises:
        ValueError: If it is no annotation file, does not list all the files, or does not tell them apart.
    """
    entries: Dict[str, List[Tuple[Sequence[str], Any]]] = {}
    try:
        with open(annotations) as f:
            for image in json.load(f)['images']:
                parts = [part for part in image['file_name'].replace('\\', '/').split('/') if part not in ('', '.')]
                entries.setdefault(parts[-1], []).append((parts, image['id']))
    except (AttributeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{annotations}: not a COCO annotation file with images that have file_name and id '
            f'({type(error).__name__}: {error})'
        ) from None
    unknown = [path for path, _ in files if path.name not in entries]
    if unknown:
        raise ValueError(
            f'{annotations}: has no image called {unknown[0].name}, nor {len(unknown) - 1} others of the '
            f'{len(files)} files; leave --annotations out or give the file that lists them'
        )
    ids: Dict[Path, Any] = {}
    owners: Dict[str, Path] = {}
    elsewhere = []
    for path, _ in files:
        own = Path(os.path.abspath(path)).parts
        # First those whose file_name is the end of the path, then the longest common end.
        ranks = []
        for parts, _ in entries[path.name]:
            count = _common_suffix(own, parts)
            ranks.append((count == len(parts), count))
        best = [('/'.join(entry[0]), entry[1]) for entry, rank in zip(entries[path.name], ranks) if rank == max(ranks)]
        name, ids[path] = best[0]
        if len(best) > 1 and best[1][0] == name:
            raise ValueError(f'{annotations}: two images have the file_name {name}; give them different ones')
        if len(best) > 1:
            raise ValueError(
                f'{annotations}: {path} may be {name} or {best[1][0]}; put the images into directories named as in '
                'file_name'
            )
        if name in owners:
            raise ValueError(
                f'{annotations}: {owners[name]} and {path} both match {name}; leave out images that it does not list'
            )
        owners[name] = path
        if not max(ranks)[0]:
            elsewhere.append((path, name))
    if elsewhere:
        print(
            f'warning: {len(elsewhere)} of {len(files)} images are in other directories than {annotations} says, for '
            f'example {elsewhere[0][0]} is taken for {elsewhere[0][1]}',
            file=sys.stderr,
        )
    return ids


def number_ids(files: Sequence[InputFile]) -> Optional[Dict[Path, int]]:
    """Return the numbers that are the names of the images; None if they are not distinct numbers, or for videos."""
    if any(is_video(path) or not path.stem.isdecimal() for path, _ in files):
        return None
    numbers = {path: int(path.stem) for path, _ in files}
    return numbers if len(set(numbers.values())) == len(files) else None


def picture_name(file: InputFile) -> str:
    """Return the name of a file's picture or video with drawn detections."""
    return str(Path(file.name).with_suffix('.mp4')) if is_video(file.path) else file.name


def check_names(files: Sequence[InputFile], pictures: Path) -> None:
    """Refuse files whose pictures would replace them or each other.

    Args:
        files (Sequence[InputFile]): The files.
        pictures (Path): Directory that pictures go to.

    Raises:
        ValueError: If two pictures have one name, or that of a given file.
    """
    inputs = {path.resolve() for path, _ in files}
    paths: Dict[str, Path] = {}
    for file in files:
        name = picture_name(file)
        if (pictures / name).resolve() in inputs:
            raise ValueError(
                f'{file.path}: its picture would replace {pictures / name}; choose another --output, or --no-pictures'
            )
        if name in paths:
            raise ValueError(
                f'{file.path} and {paths[name]}: the pictures of both would be called {name}; run them one '
                'after the other, with another --output, or with --no-pictures'
            )
        paths[name] = file.path


def coco_results(frame: Frame, image_id: Any, detections: Detections, category_ids: Sequence[Any]) -> List[dict]:
    """Convert detections to COCO's result format, with the name of the file."""
    results = []
    for (x1, y1, x2, y2), score, label in zip(*(values.tolist() for values in detections)):
        result = dict(
            image_id=image_id,
            category_id=category_ids[label],
            bbox=[x1, y1, x2 - x1, y2 - y1],
            score=score,
            file_name=frame.file.name,
        )
        if frame.index is not None:
            result['frame'] = frame.index
        results.append(result)
    return results


class PictureWriter:
    """Writes images with drawn detections, and the frames of a video as one video.

    Args:
        directory (Path): Where to write.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self._video: Optional[cv2.VideoWriter] = None
        self._video_path: Optional[Path] = None

    def write(self, frame: Frame, picture: np.ndarray) -> None:
        """Write one picture under the name of its file.

        Args:
            frame (Frame): What the picture was drawn on.
            picture (np.ndarray): BGR, uint8, (H, W, 3).

        Raises:
            OSError: If it cannot be written.
        """
        path = self.directory / picture_name(frame.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        if frame.index is None:
            if not cv2.imwrite(str(path), picture):
                raise OSError(f'{path}: could not be written; is the disk full?')
            return
        if self._video_path != path:
            self.close()
            size = picture.shape[1], picture.shape[0]
            self._video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), frame_rate(frame.file.path), size)
            if not self._video.isOpened():
                raise OSError(
                    f'{path}: could not be written; is the disk full, or OpenCV without video? '
                    '--no-pictures writes the JSON only'
                )
            self._video_path = path
        self._video.write(picture)

    def close(self) -> None:
        """Finish the video."""
        if self._video is not None:
            self._video.release()
        self._video = self._video_path = None


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m mmthunder.runtime', description='Detect objects with an exported detector.'
    )
    parser.add_argument('model', help='file of tools/deployment/export_onnx.py')
    parser.add_argument('inputs', nargs='+', metavar='input', help='images, directories of images, videos')
    parser.add_argument('--output', required=True, help='directory for detections.json and pictures/')
    parser.add_argument('--backend', choices=BACKENDS, help='runtime; by default what is installed')
    parser.add_argument('--threads', type=int, help="threads; by default the runtime's choice")
    parser.add_argument(
        '--providers',
        nargs='+',
        help="ONNX Runtime's execution providers; by default CUDA if it is there, else the CPU",
    )
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default='f32',
        help='bf16 is faster, with OpenVINO on processors that have it; by default f32',
    )
    parser.add_argument('--batch', type=int, default=1, help='images per call')
    parser.add_argument('--draw-thr', type=float, default=0.3, help='lowest score to draw')
    parser.add_argument('--no-pictures', action='store_true', help='write the JSON only')
    parser.add_argument('--annotations', help='COCO annotation file that has the ids of the images, by file_name')
    args = parser.parse_args(argv)
    if args.batch < 1:
        parser.error(f'--batch {args.batch} must be at least 1')
    if args.threads is not None and args.threads < 1:
        parser.error(f'--threads {args.threads} must be at least 1')
    return args


def run(args: argparse.Namespace) -> int:
    """Detect, write and report.

    Returns:
        int: 0, or 1 if a file could not be read.
    """
    pictures = Path(args.output, 'pictures')
    files = list_files(args.inputs, skip=pictures)
    if not args.no_pictures:
        check_names(files, pictures)
    image_ids = number_ids(files) if args.annotations is None else read_image_ids(files, args.annotations)
    detector = Detector(args.model, args.backend, args.threads, args.providers, args.precision)
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    writer = None if args.no_pictures else PictureWriter(pictures)
    total, done, unreadable, results = count_frames(files), 0, [], []
    start = time.perf_counter()
    frames = read_frames(files, detector.preprocessing.loader)
    try:
        while chunk := list(islice(frames, args.batch)):
            for frame in chunk:
                if frame.image is None:
                    unreadable.append(frame.file.path)
                    print(f'\n{frame.file.path}: not readable, left out', file=sys.stderr)
            readable = [frame for frame in chunk if frame.image is not None]
            for frame, detections in zip(readable, detector.detect([frame.image for frame in readable])):
                image_id = done if image_ids is None else image_ids[frame.file.path]
                results += coco_results(frame, image_id, detections, detector.category_ids)
                done += 1
                if writer is not None:
                    writer.write(frame, draw(frame.image, detections, detector.classes, args.draw_thr))
            rate = done / (time.perf_counter() - start)
            print(f'\r{done + len(unreadable)}/{total} ({rate:.1f}/s)', end='', file=sys.stderr, flush=True)
    finally:
        # Whatever ends the run, what was found is kept.
        frames.close()
        print(file=sys.stderr)
        if writer is not None:
            writer.close()
        (output / 'detections.json').write_text(json.dumps(results))
        print(
            f'{detector.session.name}: {len(results)} detections in {done} images: {output / "detections.json"}'
            f'{"" if writer is None else f", pictures in {writer.directory}"}'
        )
    if unreadable:
        print(
            f'{len(unreadable)} of {len(files)} files could not be read: {", ".join(map(str, unreadable))}',
            file=sys.stderr,
        )
    return 1 if unreadable else 0


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; errors of the user are one line."""
    args = parse_args(argv)
    try:
        return run(args)
    except (OSError, ImportError, ModelFileError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
