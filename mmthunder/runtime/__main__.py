"""Command line of the runtime: images in, detections as JSON and pictures out."""

import argparse
import json
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import cv2
import numpy as np

from .detector import Detections, Detector
from .errors import ModelFileError
from .media import Frame, count_frames, draw, frame_rate, is_video, list_files, read_frames
from .sessions import BACKENDS


def find_image_ids(files: Sequence[Path], annotations: Optional[str]) -> Optional[Dict[Path, int]]:
    """Find the ids of images.

    Args:
        files (Sequence[Path]): The files.
        annotations (str, optional): COCO annotation file that has the ids by file name.

    Returns:
        dict[Path, int], optional: The ids of the annotation file, otherwise the numbers that the files
        are called by; None if they are not called by different numbers, or there are videos.

    Raises:
        ValueError: If the annotation file is none or does not have all the files.
    """
    if annotations is not None:
        try:
            with open(annotations) as f:
                ids = {Path(image['file_name']).name: image['id'] for image in json.load(f)['images']}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{annotations}: not a COCO annotation file with images that have file_name and id '
                f'({type(error).__name__}: {error})'
            ) from None
        unknown = [path.name for path in files if path.name not in ids]
        if unknown:
            raise ValueError(
                f'{annotations}: has no image called {unknown[0]}, nor {len(unknown) - 1} others of the '
                f'{len(files)} files; leave --annotations out or give the file that lists them'
            )
        return {path: ids[path.name] for path in files}
    if any(is_video(path) or not path.stem.isdecimal() for path in files):
        return None
    numbers = {path: int(path.stem) for path in files}
    return numbers if len(set(numbers.values())) == len(files) else None


def picture_name(path: Path) -> str:
    """Name the drawn picture or video of a file."""
    return f'{path.stem}.mp4' if is_video(path) else path.name


def check_names(files: Sequence[Path], pictures: Path) -> None:
    """Refuse files whose results could not be told apart or would replace them.

    Args:
        files (Sequence[Path]): The files.
        pictures (Path): Folder that drawn pictures go to.

    Raises:
        ValueError: If two files have one name, or a file is in the folder.
    """
    paths: Dict[str, Path] = {}
    for path in files:
        if path.parent.resolve() == pictures.resolve():
            raise ValueError(f'{path}: its drawn picture would replace it; choose another --output')
        name = picture_name(path)
        if name in paths:
            raise ValueError(
                f'{path} and {paths[name]}: the results of both would be called {name}; run them one '
                'after the other, with another --output'
            )
        paths[name] = path


def coco_results(frame: Frame, image_id: int, detections: Detections, category_ids: Sequence[int]) -> List[dict]:
    """Bring detections into the form of COCO's results, with the name of the file."""
    results = []
    for (x1, y1, x2, y2), score, label in zip(*(values.tolist() for values in detections)):
        result = dict(
            image_id=image_id,
            category_id=category_ids[label],
            bbox=[x1, y1, x2 - x1, y2 - y1],
            score=score,
            file_name=frame.path.name,
        )
        if frame.index is not None:
            result['frame'] = frame.index
        results.append(result)
    return results


class PictureWriter:
    """Writes drawn images, and drawn frames of a video as one video.

    Args:
        folder (Path): Where to write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
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
        path = self.folder / picture_name(frame.path)
        if frame.index is None:
            if not cv2.imwrite(str(path), picture):
                raise OSError(f'{path}: could not be written; is the disk full?')
            return
        if self._video_path != frame.path:
            self.close()
            size = picture.shape[1], picture.shape[0]
            self._video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), frame_rate(frame.path), size)
            if not self._video.isOpened():
                raise OSError(
                    f'{path}: could not be written; is the disk full, or OpenCV without video? '
                    '--no-pictures writes the JSON only'
                )
            self._video_path = frame.path
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
    parser.add_argument('inputs', nargs='+', metavar='input', help='images, folders of images, videos')
    parser.add_argument('--output', required=True, help='folder for detections.json and pictures/')
    parser.add_argument('--backend', choices=BACKENDS, help='runtime; by default what is installed')
    parser.add_argument('--threads', type=int, help="threads; by default the runtime's choice")
    parser.add_argument('--batch', type=int, default=1, help='images to hand over at once')
    parser.add_argument('--draw-thr', type=float, default=0.3, help='lowest score to draw')
    parser.add_argument('--no-pictures', action='store_true', help='write the JSON only')
    parser.add_argument('--annotations', help='COCO file that has the ids of the images, by file name')
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
    files = list_files(args.inputs)
    pictures = Path(args.output, 'pictures')
    check_names(files, pictures)
    image_ids = find_image_ids(files, args.annotations)
    detector = Detector(args.model, args.backend, args.threads)
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    writer = None if args.no_pictures else PictureWriter(pictures)
    total, done, unreadable, results = count_frames(files), 0, [], []
    start = time.perf_counter()
    frames = read_frames(files)
    try:
        while chunk := list(islice(frames, args.batch)):
            for frame in chunk:
                if frame.image is None:
                    unreadable.append(frame.path)
                    print(f'\n{frame.path}: not readable, left out', file=sys.stderr)
            readable = [frame for frame in chunk if frame.image is not None]
            for frame, detections in zip(readable, detector.detect([frame.image for frame in readable])):
                image_id = done if image_ids is None else image_ids[frame.path]
                results += coco_results(frame, image_id, detections, detector.category_ids)
                done += 1
                if writer is not None:
                    writer.write(frame, draw(frame.image, detections, detector.classes, args.draw_thr))
            rate = done / (time.perf_counter() - start)
            print(f'\r{done + len(unreadable)}/{total} ({rate:.1f}/s)', end='', file=sys.stderr, flush=True)
    finally:
        # Whatever ends the run, what was found is kept.
        print(file=sys.stderr)
        if writer is not None:
            writer.close()
        (output / 'detections.json').write_text(json.dumps(results))
        print(
            f'{detector.session.name}: {len(results)} detections in {done} images: {output / "detections.json"}'
            f'{"" if writer is None else f", pictures in {writer.folder}"}'
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
