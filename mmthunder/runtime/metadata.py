"""What an exported file says about its detector, which nothing is believed of."""

import json
import reprlib
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple, Union

from .errors import ModelFileError

FORMAT = 'mmthunder detector 1'
# OpenCV resizes to shorter sides only.
MAX_SIDE = 2**15 - 1


class Metadata(NamedTuple):
    """What the runtime needs to know.

    Attributes:
        classes (list[str]): Names of the labels.
        category_ids (list[int]): The data set's ids of the labels.
        score_thr (float): Lowest score of a detection.
        scale (tuple[int, int]): Width and height that images are resized to.
        keep_ratio (bool): Whether images keep their proportions.
    """

    classes: List[str]
    category_ids: List[int]
    score_thr: float
    scale: Tuple[int, int]
    keep_ratio: bool


def _is_list(value: Any, is_item: Callable[[Any], bool]) -> bool:
    return type(value) is list and all(map(is_item, value))


def _is_scale(value: Any) -> bool:
    return _is_list(value, lambda side: type(side) is int and 0 < side <= MAX_SIDE) and len(value) == 2


# The types themselves are compared: JSON's true is a bool, which is an int to isinstance.
EXPECTED: Dict[str, Tuple[Callable[[Any], bool], str]] = dict(
    classes=(lambda value: _is_list(value, lambda name: type(name) is str) and value, 'a list of names'),
    category_ids=(lambda value: _is_list(value, lambda item: type(item) is int), 'a list of whole numbers'),
    score_thr=(lambda value: type(value) in (int, float) and 0 <= value <= 1, 'a number from 0 to 1'),
    scale=(_is_scale, f'width and height in pixels, at most {MAX_SIDE}'),
    keep_ratio=(lambda value: type(value) is bool, 'true or false'),
)


def read_metadata(path: Union[str, Path], metadata: Dict[str, str]) -> Metadata:
    """Read the metadata of a file.

    Args:
        path (str or Path): The file, for errors.
        metadata (dict[str, str]): What is written there: ``format``, and values as JSON.

    Returns:
        Metadata: The values.

    Raises:
        ModelFileError: If it is no exported detector, or a value is missing or wrong.
    """
    if metadata.get('format') != FORMAT:
        raise ModelFileError(
            f'{path}: not a detector of tools/deployment/export_onnx.py (its metadata has format '
            f'{reprlib.repr(metadata.get("format"))}, expected {FORMAT!r}); export it again'
        )
    values = {}
    for key, (is_valid, expected) in EXPECTED.items():
        text = metadata.get(key, '')
        try:
            values[key] = json.loads(text)
        except (ValueError, RecursionError):
            values[key] = None
        if not is_valid(values[key]):
            raise ModelFileError(
                f'{path}: {key} in its metadata is {reprlib.repr(text)}, expected {expected} in JSON; export it again'
            )
    read = Metadata(**dict(values, scale=tuple(values['scale'])))
    if len(read.category_ids) != len(read.classes):
        raise ModelFileError(
            f'{path}: its metadata has {len(read.classes)} classes, but {len(read.category_ids)} '
            'category_ids; export it again'
        )
    return read
