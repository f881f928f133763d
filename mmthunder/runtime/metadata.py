"""Metadata of exported files, which are validated since a file may come from anyone."""

import json
import reprlib
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple, Union

from .errors import ModelFileError
from .preprocessing import MAX_SIDE, LoadImageFromFile, Preprocessing, Resize, read_preprocessing

FORMAT = 'mmthunder detector 2'
# Files of format 1 have scale and keep_ratio of one Resize in place of the pipeline.
FORMAT_1 = 'mmthunder detector 1'


class Metadata(NamedTuple):
    """Metadata that the runtime needs.

    Attributes:
        classes (list[str]): Names of the labels.
        category_ids (list[int or str]): The dataset's ids of the labels.
        score_thr (float): Lowest score of a detection.
        preprocessing (Preprocessing): Reading, resizing and padding of images.
    """

    classes: List[str]
    category_ids: List[Union[int, str]]
    score_thr: float
    preprocessing: Preprocessing


def _is_list(value: Any, is_item: Callable[[Any], bool]) -> bool:
    return type(value) is list and all(map(is_item, value))


def _is_scale(value: Any) -> bool:
    return _is_list(value, lambda side: type(side) is int and 0 < side <= MAX_SIDE) and len(value) == 2


# The types themselves are compared: JSON's true is a bool, which is an int to isinstance.
EXPECTED: Dict[str, Tuple[Callable[[Any], bool], str]] = dict(
    classes=(lambda value: _is_list(value, lambda name: type(name) is str) and value, 'a list of names'),
    category_ids=(lambda value: _is_list(value, lambda item: type(item) in (int, str)), 'a list of ids'),
    score_thr=(lambda value: type(value) in (int, float) and 0 <= value <= 1, 'a number from 0 to 1'),
)
EXPECTED_1: Dict[str, Tuple[Callable[[Any], bool], str]] = dict(
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
    if metadata.get('format') not in (FORMAT, FORMAT_1):
        raise ModelFileError(
            f'{path}: not a detector of tools/deployment/export_onnx.py (its metadata has format '
            f'{reprlib.repr(metadata.get("format"))}, expected {FORMAT!r}); export it again'
        )
    is_old = metadata['format'] == FORMAT_1
    values = {}
    for key in (*EXPECTED, *(EXPECTED_1 if is_old else ('pipeline',))):
        text = metadata.get(key, '')
        try:
            values[key] = json.loads(text)
        except (ValueError, RecursionError):
            values[key] = None
        is_valid, expected = {**EXPECTED, **EXPECTED_1}.get(key, (lambda value: value is not None, 'a list of steps'))
        if not is_valid(values[key]):
            raise ModelFileError(
                f'{path}: {key} in its metadata is {reprlib.repr(text)}, expected {expected} in JSON; export it again'
            )
    if len(values['category_ids']) != len(values['classes']):
        raise ModelFileError(
            f'{path}: its metadata has {len(values["classes"])} classes, but {len(values["category_ids"])} '
            'category_ids; export it again'
        )
    if is_old:
        resize = Resize(tuple(values.pop('scale')), keep_ratio=values.pop('keep_ratio'))
        return Metadata(**values, preprocessing=Preprocessing(LoadImageFromFile(), (resize,)))
    try:
        return Metadata(preprocessing=read_preprocessing(values.pop('pipeline')), **values)
    except ValueError as error:
        raise ModelFileError(f'{path}: in its metadata {error}; export it again') from None
