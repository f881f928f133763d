"""Checks of Pascal VOC annotation files, whose errors name the file, the object and the field."""

import reprlib
import xml.etree.ElementTree as ET
from typing import Callable, TypeVar

from .annotation_error import LARGEST_PIXEL, AnnotationError

Value = TypeVar('Value')


def _side(text: str) -> int:
    side = int(text)
    if not 1 <= side <= LARGEST_PIXEL:
        raise ValueError
    return side


def _pixel(text: str) -> float:
    pixel = float(text)
    if not -LARGEST_PIXEL <= pixel <= LARGEST_PIXEL:  # as of NaN
        raise ValueError
    return pixel


def _read(element: ET.Element, field: str, read: Callable[[str], Value], where: str, expected: str) -> Value:
    """Read the text of a field.

    Args:
        element (ET.Element): The parent of the field.
        field (str): Path of the field below it.
        read (Callable): Converts the text, or raises a ValueError.
        where (str): File and object, for messages.
        expected (str): What a valid text is, for messages.

    Returns:
        What ``read`` returns.

    Raises:
        AnnotationError: If the field is missing or ``read`` refuses it.
    """
    text = element.findtext(field)
    if text is None:
        raise AnnotationError(f'{where}: {field} is missing; expected {expected}')
    try:
        return read(text)
    except ValueError:
        raise AnnotationError(f'{where}: {field} is {reprlib.repr(text)}; expected {expected}') from None


def parse_voc(path: str, content: bytes) -> ET.Element:
    """Parse a Pascal VOC file and check what mmdet takes for granted.

    Args:
        path (str): Name of the file, for messages.
        content (bytes): Its content. ``size`` may be missing, since mmdet then reads the image, and a box may have
            no area.

    Returns:
        ET.Element: The root of the file; each ``object`` has a ``name`` and a ``bndbox`` of four numbers.

    Raises:
        AnnotationError: If it is not XML, or at the first field that is missing or invalid.
    """
    try:
        root = ET.fromstring(content)
    except (ET.ParseError, ValueError, LookupError) as error:  # the last two are of encodings
        raise AnnotationError(
            f'{path}: not readable as XML ({error}); the file is damaged or was cut off, so write or download it again'
        ) from None
    if root.find('size') is not None:
        for field in ('size/width', 'size/height'):
            _read(
                root,
                field,
                _side,
                path,
                'an integer number of pixels, at least 1; without size, that of the image is taken',
            )
    for i, element in enumerate(root.findall('object')):
        name = element.findtext('name')
        where = f'{path}: object[{i}] with name {reprlib.repr(name)}'
        if not name:
            raise AnnotationError(f'{where}: expected the name of a class')
        if element.find('difficult') is not None:
            _read(element, 'difficult', int, where, '0 or 1')
        x1, y1, x2, y2 = (
            _read(element, f'bndbox/{side}', _pixel, where, 'a number of pixels')
            for side in ('xmin', 'ymin', 'xmax', 'ymax')
        )
        for low, high, axis in ((x1, x2, 'x'), (y1, y2, 'y')):
            if high < low:
                raise AnnotationError(f'{where}: bndbox/{axis}max is {high:g}; expected at least {axis}min, {low:g}')
    return root
