"""Preprocessing of images: the steps of the config's test pipeline, with mmdet's names and arguments."""

import io
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

import cv2
import numpy as np

# OpenCV resizes to shorter sides only.
MAX_SIDE = 2**15 - 1
Size = Tuple[int, int]  # width, height

INTERPOLATIONS = {
    'nearest': cv2.INTER_NEAREST,
    'bilinear': cv2.INTER_LINEAR,
    'bicubic': cv2.INTER_CUBIC,
    'area': cv2.INTER_AREA,
    'lanczos': cv2.INTER_LANCZOS4,
}
PADDING_MODES = {
    'constant': cv2.BORDER_CONSTANT,
    'edge': cv2.BORDER_REPLICATE,
    'reflect': cv2.BORDER_REFLECT_101,
    'symmetric': cv2.BORDER_REFLECT,
}
COLOR_TYPES = {
    'color': cv2.IMREAD_COLOR,
    'grayscale': cv2.IMREAD_GRAYSCALE,
    'color_ignore_orientation': cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
    'grayscale_ignore_orientation': cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION,
}
DECODERS = ('cv2', 'pillow')


def _decode_pillow(content: bytes, color_type: str) -> np.ndarray:
    """Decode with Pillow as mmcv does: grayscale images with an alpha channel are put on a background color."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        if not color_type.endswith('ignore_orientation'):
            image = ImageOps.exif_transpose(image)
        if image.mode == 'LA':
            background = Image.new('RGBA', image.size, (124, 117, 104, 255))
            image = Image.alpha_composite(background, image.convert('RGBA'))
        image = image.convert('RGB')
        if color_type.startswith('grayscale'):
            return np.array(image.convert('L'))
        return np.ascontiguousarray(np.array(image)[..., ::-1])


def _rescaled(size: Size, scale: Size) -> Size:
    """Fit a size into the longer and the shorter side of a scale; sides are at least 1 px."""
    factor = min(max(scale) / max(size), min(scale) / min(size))
    return max(int(size[0] * factor + 0.5), 1), max(int(size[1] * factor + 0.5), 1)


def _pad(image: np.ndarray, size: Size, value: Tuple[float, ...], mode: str = 'constant') -> np.ndarray:
    """Pad an image at the right and the bottom to at least a size."""
    height, width = image.shape[:2]
    right, bottom = max(size[0] - width, 0), max(size[1] - height, 0)
    if not right and not bottom:
        return image
    return cv2.copyMakeBorder(image, 0, bottom, 0, right, PADDING_MODES[mode], value=tuple(value))


class LoadImageFromFile(NamedTuple):
    """Reads image files, as :class:`mmcv.transforms.LoadImageFromFile`.

    Attributes:
        color_type (str): A key of :data:`COLOR_TYPES`. Those without ``_ignore_orientation`` apply the EXIF
            orientation. Defaults to ``'color'``.
        imdecode_backend (str): ``'cv2'`` or ``'pillow'``. Defaults to ``'cv2'``.
        to_float32 (bool): Whether images are converted to float32, so that resized values are not rounded.
            Defaults to False.
    """

    color_type: str = 'color'
    imdecode_backend: str = 'cv2'
    to_float32: bool = False

    @property
    def channels(self) -> int:
        """1 for grayscale images, otherwise 3."""
        return 1 if self.color_type.startswith('grayscale') else 3

    def read(self, path: Union[str, Path]) -> Optional[np.ndarray]:
        """Read an image.

        Args:
            path (str or Path): The file.

        Returns:
            np.ndarray, optional: Uint8, BGR (H, W, 3) or grayscale (H, W); None if the file cannot be read, for any
            reason. The missing part of a truncated JPEG file is gray, as in tests with the config.

        Raises:
            ImportError: If Pillow is needed and not installed.
        """
        try:
            # Not by OpenCV, which fails for some file names on Windows.
            content = Path(path).read_bytes()
        except OSError:
            return None
        image = self._decode(content)
        if image is None and content.startswith(b'\xff\xd8'):
            image = self._decode(content + b'\xff\xd9')  # the end marker
        return image

    def _decode(self, content: bytes) -> Optional[np.ndarray]:
        """Decode the content of an image file; None if that is not possible."""
        try:
            if self.imdecode_backend == 'pillow':
                return _decode_pillow(content, self.color_type)
            return cv2.imdecode(np.frombuffer(content, np.uint8), COLOR_TYPES[self.color_type])
        except ImportError:
            raise
        # Decoders raise all kinds of errors for broken files: cv2.error for none at all and for headers of more than
        # 2**30 pixels, Pillow's SyntaxError for broken PNGs.
        except Exception:
            return None


class Resize(NamedTuple):
    """Resizes images, as :class:`mmdet.datasets.transforms.Resize`.

    Attributes:
        scale (tuple[int, int], optional): Width and height in pixels; with ``keep_ratio`` the longer and the shorter
            side stay within the longer and the shorter of them.
        scale_factor (tuple[float, float], optional): Factors of the width and the height, where ``scale`` is None.
        keep_ratio (bool): Whether the aspect ratio is kept. Defaults to False.
        interpolation (str): A key of :data:`INTERPOLATIONS`. Defaults to ``'bilinear'``.
    """

    scale: Optional[Size] = None
    scale_factor: Optional[Tuple[float, float]] = None
    keep_ratio: bool = False
    interpolation: str = 'bilinear'

    def output_size(self, size: Size) -> Size:
        """Compute the width and height that an image of a width and height gets."""
        scale = self.scale
        if scale is None:
            scale = tuple(max(int(side * factor + 0.5), 1) for side, factor in zip(size, self.scale_factor))
        return _rescaled(size, scale) if self.keep_ratio else scale

    def scale_factors(self, size: Size) -> Tuple[float, float]:
        """Compute the factors of the coordinates x and y, which mmdet divides boxes by."""
        width, height = self.output_size(size)
        return width / size[0], height / size[1]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resize an image (H, W, 3) or (H, W)."""
        size = self.output_size((image.shape[1], image.shape[0]))
        return cv2.resize(image, size, interpolation=INTERPOLATIONS[self.interpolation])


class FixShapeResize(NamedTuple):
    """Resizes images to fit into a size and pads them to it, as mmdet's ``FixShapeResize`` with ``keep_ratio=True``.

    Attributes:
        width (int): In pixels.
        height (int): In pixels.
        pad_val (tuple[float]): Value of each channel in the padding.
        interpolation (str): A key of :data:`INTERPOLATIONS`. Defaults to ``'bilinear'``.
    """

    width: int
    height: int
    pad_val: Tuple[float, ...]
    interpolation: str = 'bilinear'

    def output_size(self, size: Size) -> Size:
        """Return the width and height."""
        return self.width, self.height

    def scale_factors(self, size: Size) -> Tuple[float, float]:
        """Compute the factors of the coordinates x and y, which mmdet divides boxes by; they are not rounded."""
        factor = min(self.width / size[0], self.height / size[1])
        return factor, factor

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resize and pad an image (H, W, 3) or (H, W)."""
        size = image.shape[1], image.shape[0]
        factor = self.scale_factors(size)[0]
        fitting = max(int(size[0] * factor + 0.5), 1), max(int(size[1] * factor + 0.5), 1)
        resized = cv2.resize(image, _rescaled(size, fitting), interpolation=INTERPOLATIONS[self.interpolation])
        return _pad(resized, (self.width, self.height), self.pad_val)


class Pad(NamedTuple):
    """Pads images at the right and the bottom, as :class:`mmdet.datasets.transforms.Pad`.

    Attributes:
        size (tuple[int, int], optional): Least width and height in pixels.
        size_divisor (int, optional): What the width and height become multiples of, where ``size`` is None.
        pad_to_square (bool): Whether the shorter side is padded to the longer one first. Defaults to False.
        pad_val (tuple[float]): Value of each channel. Defaults to zeros.
        padding_mode (str): A key of :data:`PADDING_MODES`. Defaults to ``'constant'``.
    """

    size: Optional[Size] = None
    size_divisor: Optional[int] = None
    pad_to_square: bool = False
    pad_val: Tuple[float, ...] = (0, 0, 0)
    padding_mode: str = 'constant'

    def output_size(self, size: Size) -> Size:
        """Compute the width and height that an image of a width and height gets."""
        width, height = (max(size), max(size)) if self.pad_to_square else size
        if self.size_divisor is not None:
            return width + -width % self.size_divisor, height + -height % self.size_divisor
        return (max(width, self.size[0]), max(height, self.size[1])) if self.size else (width, height)

    def scale_factors(self, size: Size) -> Tuple[float, float]:
        """Return 1, 1, since padding does not change coordinates."""
        return 1.0, 1.0

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Pad an image (H, W, 3) or (H, W)."""
        size = self.output_size((image.shape[1], image.shape[0]))
        return _pad(image, size, self.pad_val, self.padding_mode)


Step = Union[Resize, FixShapeResize, Pad]
STEPS = {step.__name__: step for step in (Resize, FixShapeResize, Pad)}


class Preprocessing(NamedTuple):
    """From an image file to the graph's input.

    Attributes:
        loader (LoadImageFromFile): Loading of images. Defaults to color images, by OpenCV.
        steps (tuple): The steps after loading: :class:`Resize`, :class:`FixShapeResize` and :class:`Pad`.
    """

    loader: LoadImageFromFile = LoadImageFromFile()
    steps: Tuple[Step, ...] = ()

    def output_size(self, size: Size) -> Size:
        """Compute the width and height of the input that an image of a width and height gives."""
        for step in self.steps:
            size = step.output_size(size)
        return size

    def scale_factors(self, size: Size) -> Tuple[float, float]:
        """Compute what x and y in an image of a width and height are multiplied by."""
        x, y = 1.0, 1.0
        for step in self.steps:
            factor_x, factor_y = step.scale_factors(size)
            x, y = x * factor_x, y * factor_y
            size = step.output_size(size)
        return x, y

    def fixed_size(self) -> Optional[Size]:
        """Return the width and height that images of all sizes get, or None if they get different ones."""
        resize = next((step for step in self.steps if isinstance(step, Resize) and step.scale), None)
        # Sizes after a Resize that keeps the aspect ratio lie between those of these images.
        width, height = resize.scale if resize else (4, 3)
        probes = ((1000, 1000), (width, height), (height, width), (1, 10000), (10000, 1), (1, 1), (3333, 2000))
        sizes = {self.output_size(probe) for probe in probes}
        return sizes.pop() if len(sizes) == 1 else None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Make the graph's input of one image.

        Args:
            image (np.ndarray): What :meth:`LoadImageFromFile.read` gives.

        Returns:
            np.ndarray: Uint8, or float32 where the loader says so, with shape (H, W, channels).
        """
        if self.loader.to_float32:
            image = image.astype(np.float32)
        for step in self.steps:
            image = step(image)
        return image.reshape(*image.shape[:2], self.loader.channels)

    def to_list(self) -> List[dict]:
        """Return the steps as a list for JSON; :func:`read_preprocessing` reads it."""
        return [dict(type=type(step).__name__, **step._asdict()) for step in (self.loader, *self.steps)]


def _is_side(value: Any) -> bool:
    # The types themselves are compared: JSON's true is a bool, which is an int to isinstance.
    return type(value) is int and 0 < value <= MAX_SIDE


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= 1e6


def _is_pair(value: Any, is_item: Callable[[Any], bool]) -> bool:
    return type(value) is list and len(value) == 2 and all(map(is_item, value))


EXPECTED: Dict[str, Tuple[Callable[[Any], bool], str]] = dict(
    color_type=(lambda value: type(value) is str and value in COLOR_TYPES, f'one of {", ".join(COLOR_TYPES)}'),
    imdecode_backend=(lambda value: type(value) is str and value in DECODERS, f'one of {", ".join(DECODERS)}'),
    to_float32=(lambda value: type(value) is bool, 'true or false'),
    scale=(
        lambda value: value is None or _is_pair(value, _is_side),
        f'width and height in pixels, at most {MAX_SIDE}, or null',
    ),
    scale_factor=(
        lambda value: value is None or _is_pair(value, lambda item: _is_number(item) and item > 0),
        'two positive factors or null',
    ),
    keep_ratio=(lambda value: type(value) is bool, 'true or false'),
    interpolation=(lambda value: type(value) is str and value in INTERPOLATIONS, f'one of {", ".join(INTERPOLATIONS)}'),
    width=(_is_side, f'pixels, at most {MAX_SIDE}'),
    height=(_is_side, f'pixels, at most {MAX_SIDE}'),
    size=(
        lambda value: value is None or _is_pair(value, _is_side),
        f'width and height in pixels, at most {MAX_SIDE}, or null',
    ),
    size_divisor=(lambda value: value is None or _is_side(value), f'pixels, at most {MAX_SIDE}, or null'),
    pad_to_square=(lambda value: type(value) is bool, 'true or false'),
    pad_val=(
        lambda value: type(value) is list and 1 <= len(value) <= 3 and all(map(_is_number, value)),
        'a list of numbers, one per channel',
    ),
    padding_mode=(lambda value: type(value) is str and value in PADDING_MODES, f'one of {", ".join(PADDING_MODES)}'),
)


def _read_step(item: Any, classes: dict, place: str) -> Any:
    """Build one step from JSON; ValueError if a key or a value is wrong."""
    kind = item.get('type') if type(item) is dict else None
    if type(kind) is not str or kind not in classes:
        raise ValueError(f'{place}.type is {kind!r:.40}, expected {" or ".join(classes)}')
    fields = set(classes[kind]._fields)
    if set(item) != {'type', *fields}:
        raise ValueError(f'{place} has the keys {sorted(item)!r:.80}, expected type, {", ".join(sorted(fields))}')
    for field in sorted(fields):
        is_valid, expected = EXPECTED[field]
        if not is_valid(item[field]):
            raise ValueError(f'{place}.{field} is {item[field]!r:.40}, expected {expected}')
    values = {field: tuple(value) if type(value) is list else value for field, value in item.items()}
    del values['type']
    if kind == 'Resize' and (values['scale'] is None) is (values['scale_factor'] is None):
        raise ValueError(f'{place} has scale and scale_factor, or neither; expected one of them')
    return classes[kind](**values)


def read_preprocessing(value: Any) -> Preprocessing:
    """Build the preprocessing that :meth:`Preprocessing.to_list` wrote.

    Args:
        value (Any): What was read from JSON; it may be anything.

    Returns:
        Preprocessing: The steps.

    Raises:
        ValueError: If it is no such list; the message names the field.
    """
    if type(value) is not list or not 1 <= len(value) <= 10:
        raise ValueError('pipeline is not a list of 1 to 10 steps')
    loader = _read_step(value[0], {'LoadImageFromFile': LoadImageFromFile}, 'pipeline[0]')
    steps = tuple(_read_step(item, STEPS, f'pipeline[{i}]') for i, item in enumerate(value[1:], 1))
    for i, step in enumerate(steps, 1):
        if len(getattr(step, 'pad_val', ())) not in (0, loader.channels):
            raise ValueError(f'pipeline[{i}].pad_val has {len(step.pad_val)} values, expected {loader.channels}')
    return Preprocessing(loader, steps)
