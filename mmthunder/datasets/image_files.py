"""The check of image files: each is decoded as the pipeline of its dataset does, once and for all."""

import errno
import hashlib
import json
import os
import os.path as osp
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadImageFromNDArray
from mmengine.dataset import BaseDataset
from mmengine.dist import all_gather_object, get_rank, get_world_size
from torch.utils.data import Dataset
from tqdm import tqdm

from mmthunder.utils.atomic_write import atomic_write

from .transforms.loading import LoadTruncatedImageFromFile, is_cut_off, is_of_the_file
from .wrappers import base_datasets

# Larger datasets are checked only if the config asks for it.
MAX_IMAGES = 50_000
CUT_OFF = 'cut off'
NO_SUCH_FILE = os.strerror(errno.ENOENT)


class ImageState(NamedTuple):
    """How a file decodes.

    Attributes:
        width (int): Its width as loaded, in px; 0 if it does not decode.
        height (int): Its height as loaded, in px; 0 if it does not decode.
        problem (str): ``''`` if there is none, ``'cut off'`` if it decodes in part, otherwise why it does not.
    """

    width: int
    height: int
    problem: str = ''


@dataclass
class ImageReport:
    """What the check of a dataset's images has found.

    Attributes:
        ann_file (str): Path of the dataset's annotation file or list, for messages.
        num_images (int): Number of images.
        num_decoded (int): Number of files that were decoded now; the others were remembered.
        cut_off (list[str]): Paths of files that decode in part.
        unreadable (dict[str, str]): Paths of files that do not decode, and why.
        positions (list[int]): Positions in the dataset of the images that do not decode.
        mismatches (list[str]): A line for each image whose size differs from that of its annotations so that boxes
            are outside of it.
        other_sizes (list[str]): The same for images with all boxes inside.
        skipped (str): Why the images were not checked; ``''`` if they were.
    """

    ann_file: str
    num_images: int
    num_decoded: int = 0
    cut_off: List[str] = field(default_factory=list)
    unreadable: Dict[str, str] = field(default_factory=dict)
    positions: List[int] = field(default_factory=list)
    mismatches: List[str] = field(default_factory=list)
    other_sizes: List[str] = field(default_factory=list)
    skipped: str = ''

    def errors(self, training: bool, strict: bool = False, limit: Optional[int] = 10) -> List[str]:
        """Describe what must be corrected before the dataset is used.

        Args:
            training (bool): Whether it is trained on, which is possible without files that do not decode.
            strict (bool): Whether to train on complete files only. Defaults to False.
            limit (int, optional): Number of files that a line names. Defaults to 10; None for all.

        Returns:
            list[str]: A line for each kind of error.
        """
        errors = []
        damaged = [f'{path} ({problem})' for path, problem in self.unreadable.items()]
        if strict:
            damaged += [f'{path} ({CUT_OFF})' for path in self.cut_off]
        missing = [path for path, problem in self.unreadable.items() if problem.startswith(NO_SUCH_FILE)]
        if self.num_images < 2 * len(missing):
            errors.append(
                f'{self.ann_file}: {len(missing)} of {self.num_images} images are missing: {_names(missing, limit)}; '
                'correct data_root and data_prefix of the dataset, or put the images there'
            )
        elif damaged and (strict or not training or len(self.positions) == self.num_images):
            errors.append(
                f'{self.ann_file}: {len(damaged)} of {self.num_images} images cannot be used: '
                f'{_names(damaged, limit)}; replace the files, or remove them from the annotations'
            )
        if self.mismatches:
            errors.append(
                f'{_names(self.mismatches, 1 if limit else None)}; put back the images that were annotated, which may '
                'have been turned or resized, or annotate these'
            )
        return errors

    def warnings(self, training: bool, limit: Optional[int] = 10) -> List[str]:
        """Describe what is unusual, but no error.

        Args:
            training (bool): Whether the dataset is trained on.
            limit (int, optional): Number of files that a line names. Defaults to 10; None for all.

        Returns:
            list[str]: A line for each kind of warning.
        """
        warnings = []
        if training and self.unreadable:
            damaged = [f'{path} ({problem})' for path, problem in self.unreadable.items()]
            warnings.append(
                f'{self.ann_file}: {len(self.positions)} of {self.num_images} images are left out of training: '
                f'{_names(damaged, limit)}; replace the files, or remove them from the annotations'
            )
        if self.cut_off:
            warnings.append(
                f'{self.ann_file}: {len(self.cut_off)} of {self.num_images} images are cut off and used as far as '
                f'they go: {_names(self.cut_off, limit)}'
            )
        if self.other_sizes:
            warnings.append(f'{_names(self.other_sizes, 1 if limit else None)}; all boxes are inside')
        return warnings


def _names(names: Sequence[str], limit: Optional[int]) -> str:
    limit = limit or len(names)
    return ', '.join(names[:limit]) + (f' and {len(names) - limit} more' if len(names) > limit else '')


def find_loader(dataset: BaseDataset) -> Optional[LoadImageFromFile]:
    """Find the transform that loads the images of a dataset from local files.

    Args:
        dataset (BaseDataset): The dataset.

    Returns:
        LoadImageFromFile, optional: The first transform of its pipeline, if it is mmcv's or one derived from it.
    """
    first = next(iter(getattr(getattr(dataset, 'pipeline', None), 'transforms', ())), None)
    if not isinstance(first, LoadImageFromFile) or isinstance(first, LoadImageFromNDArray):
        return None
    if first.file_client_args is not None:
        return None
    return first if (first.backend_args or dict(backend='local'))['backend'] == 'local' else None


def check_image(loader: LoadImageFromFile, info: dict) -> ImageState:
    """Decode an image.

    Args:
        loader (LoadImageFromFile): The transform that loads it.
        info (dict): What the dataset knows of the image, with ``img_path``; it is changed.

    Returns:
        ImageState: How it decodes.

    Raises:
        OSError: If the disk fails.
        MemoryError: If the memory is full.
    """
    try:
        with open(info['img_path'], 'rb') as file:
            content = file.read()
    except (OSError, ValueError) as error:  # ValueError of names with zero bytes
        if not is_of_the_file(error):
            raise
        problem = getattr(error, 'strerror', None) or str(error)
        if '\\' in info['img_path'] and osp.exists(info['img_path'].replace('\\', '/')):
            problem += ', but one with / instead of \\; write / in the annotations'
        return ImageState(0, 0, problem)
    reason = ''
    try:
        loaded = loader.transform(info)
    except Exception as error:  # decoders raise errors of many types
        if not is_of_the_file(error):
            raise
        loaded = None
        if not isinstance(error, (AssertionError, OSError, cv2.error)):  # as of a user's own loader
            reason = f': {type(error).__name__}: {error}'
    if loaded is None:
        is_page = content[:64].lstrip().lower().startswith((b'<!doctype html', b'<html'))
        problem = 'a web page' if is_page else 'not a readable image' if content else 'an empty file'
        return ImageState(0, 0, problem + reason)
    height, width = loaded['img'].shape[:2]
    return ImageState(width, height, CUT_OFF if is_cut_off(content) else '')


class ImageMemory:
    """Remembers how the files of a dataset decode, by path, size and modification time.

    It is in the user's cache directory: ``$MMTHUNDER_CACHE``, or ``mmthunder`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
    A memory that cannot be read or written is no error.

    Args:
        dataset (BaseDataset): The dataset.
        loader (LoadImageFromFile): The transform that loads its images.
    """

    def __init__(self, dataset: BaseDataset, loader: LoadImageFromFile) -> None:
        root = os.environ.get('MMTHUNDER_CACHE') or osp.join(
            os.environ.get('XDG_CACHE_HOME') or osp.expanduser('~/.cache'), 'mmthunder'
        )
        key = (osp.abspath(dataset.ann_file), repr(dataset.data_prefix), type(loader).__name__)
        key += (loader.color_type, loader.imdecode_backend)
        key = repr((*key, cv2.__version__, mmcv.__version__))
        self.path = osp.join(root, 'images', f'{hashlib.sha1(key.encode()).hexdigest()[:16]}.json')
        try:
            with open(self.path, encoding='utf-8') as file:
                content = json.load(file)
            self._known = {path: (size, time, ImageState(*state)) for path, (size, time, *state) in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self._known = {}

    @staticmethod
    def stamp(path: str) -> Optional[Tuple[int, int]]:
        """Return the size in bytes and the modification time in ns of a file; None if there is none."""
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        return status.st_size, status.st_mtime_ns

    def recall(self, path: str) -> Optional[ImageState]:
        """Return how a file decodes, if it is known and has not changed."""
        size, time, state = self._known.get(osp.abspath(path), (None, None, None))
        return state if state is not None and self.stamp(path) == (size, time) else None

    def save(self, states: Mapping[str, ImageState]) -> None:
        """Remember how files decode.

        Args:
            states (Mapping[str, ImageState]): The state of each path.
        """
        stamps = {path: self.stamp(path) for path in states}
        content = {path: [size, time, *state] for path, (size, time, state) in self._known.items()}
        content.update({osp.abspath(path): [*stamps[path], *state] for path, state in states.items() if stamps[path]})
        try:
            atomic_write(self.path, json.dumps(content).encode())
        except (OSError, ValueError):
            pass


def _decode(dataset: BaseDataset, loader: LoadImageFromFile, positions: Mapping[str, int]) -> Dict[str, ImageState]:
    """Decode files, with a progress bar in the first process."""
    threads = min(16, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as executor:
        states = executor.map(lambda i: check_image(loader, dataset.get_data_info(i)), positions.values())
        bar = tqdm(
            zip(positions, states),
            desc=f'Checking images of {dataset.ann_file}',
            total=len(positions),
            unit='image',
            disable=not positions or get_rank() > 0,
        )
        return dict(bar)


def check_images(dataset: BaseDataset, max_images: float = MAX_IMAGES) -> ImageReport:
    """Decode all images of a dataset that are not remembered from an earlier check.

    The processes of a distributed job share the work and return the same report.

    Args:
        dataset (BaseDataset): The dataset, initialised.
        max_images (float): Largest number of images to check. Defaults to 50,000.

    Returns:
        ImageReport: Files that decode in part or not at all, and images of another size than annotated.

    Raises:
        OSError: If the disk fails.
    """
    loader, report = find_loader(dataset), ImageReport(dataset.ann_file, len(dataset))
    paths = []
    if loader is None:
        report.skipped = 'the pipeline does not begin with LoadImageFromFile from the local disk'
    elif len(dataset) > max_images:
        report.skipped = f'there are {len(dataset)}, more than {max_images}'
    else:
        paths = [dataset.get_data_info(i).get('img_path') for i in range(len(dataset))]
        if not all(isinstance(path, str) and '://' not in path for path in paths):
            report.skipped = 'they are not on the local disk'
    if report.skipped:
        return report
    first = {path: i for i, path in reversed(list(enumerate(paths)))}
    memory = ImageMemory(dataset, loader)
    if type(loader) is LoadImageFromFile:  # as the runner does
        loader = LoadTruncatedImageFromFile.like(loader)
    share = sorted(first)[get_rank() :: get_world_size()]
    states = {path: memory.recall(path) for path in share}
    decoded = _decode(dataset, loader, {path: first[path] for path in share if states[path] is None})
    states.update(decoded)
    shares = all_gather_object((states, len(decoded)))
    states = {path: state for share, _ in shares for path, state in share.items()}
    report.num_decoded = sum(count for _, count in shares)
    if report.num_decoded and get_rank() == 0:
        memory.save(states)
    for i, path in enumerate(paths):
        state = states[path]
        if state.problem == CUT_OFF and i == first[path]:
            report.cut_off.append(path)
        elif state.problem and state.problem != CUT_OFF:
            report.unreadable[path] = state.problem
            report.positions.append(i)
            continue
        _compare_size(report, dataset.get_data_info(i), state)
    return report


def _compare_size(report: ImageReport, info: dict, state: ImageState) -> None:
    """Compare the size of an image with that of its annotations."""
    size, annotated = (state.width, state.height), (info.get('width'), info.get('height'))
    if None in annotated or annotated == size:
        return
    message = (
        f'{info["img_path"]}: has {size[0]}x{size[1]} px, but its annotations say {annotated[0]}x{annotated[1]} '
        '(width x height)'
    )
    boxes = np.array([instance['bbox'] for instance in info.get('instances', [])], dtype=float).reshape(-1, 4)
    if (boxes < -1).any() or (boxes[:, 2:] > np.array(size) + 1).any():
        report.mismatches.append(f'{message} and have boxes outside of it')
    else:
        report.other_sizes.append(message)


def tolerate_damage(dataset: Dataset, skip_unreadable: bool) -> List[LoadTruncatedImageFromFile]:
    """Make datasets load what is there of images that are cut off.

    Args:
        dataset (Dataset): A dataset, possibly wrapped. In place of mmcv's loader of images, which its pipelines begin
            with, they get ours.
        skip_unreadable (bool): Whether to take another image for one that cannot be decoded. mmengine's datasets do so
            in training.

    Returns:
        list[LoadTruncatedImageFromFile]: The loaders.
    """
    loaders = []
    for base in base_datasets(dataset):
        loader = find_loader(base)
        if type(loader) is LoadImageFromFile:
            loaders.append(LoadTruncatedImageFromFile.like(loader, skip_unreadable))
            base.pipeline.transforms[0] = loaders[-1]
    return loaders
