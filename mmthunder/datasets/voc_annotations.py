"""Pascal VOC annotation files whose errors name the file, the object and the field."""

import functools
import os.path as osp
import reprlib
import xml.etree.ElementTree as ET
from collections import Counter
from typing import Callable, List, TypeVar

import cv2
from mmdet.datasets import XMLDataset
from mmengine.fileio import get

from .annotation_error import LARGEST_PIXEL, AnnotationError
from .class_list import check_class_list

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
        element (ET.Element): What has the field.
        field (str): Path of the field below it.
        read (Callable): Makes a value of the text, or raises a ValueError.
        where (str): File and object, for errors.
        expected (str): What the text must be, for errors.

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


def check_annotation(path: str, content: bytes) -> List[str]:
    """Check what mmdet takes for granted.

    Args:
        path (str): Name of the file, for errors.
        content (bytes): Its content. ``size`` may be missing, since mmdet then looks into the image, and a box may
            have no area.

    Returns:
        list[str]: Names of the objects.

    Raises:
        AnnotationError: If it is no XML, or at the first field that is missing or wrong.
    """
    try:
        root = ET.fromstring(content)
    except (ET.ParseError, ValueError, LookupError) as error:  # the last two are of encodings
        raise AnnotationError(
            f'{path}: not readable as XML ({error}); the file is damaged or was cut off, so write or download it again'
        ) from None
    if root.find('size') is not None:
        for field in ('size/width', 'size/height'):
            _read(root, field, _side, path, 'a whole number of pixels, at least 1; without size, the image tells it')
    names = []
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
        names.append(name)
    return names


def checking_the_file(parse_data_info: Callable) -> Callable:
    """Make ``XMLDataset.parse_data_info`` check each file before it reads it, and count the names of the objects.

    Args:
        parse_data_info (Callable): The method.

    Returns:
        Callable: The method, with an :class:`AnnotationError` for files that are wrong, and for images that are
        missing or not readable where their size is needed.
    """

    @functools.wraps(parse_data_info)
    def check_and_parse(self, img_info: dict) -> dict:
        path = img_info['xml_path']
        try:
            content = get(path, backend_args=self.backend_args)
        except (KeyError, ValueError):  # of names with zero bytes, and of those that look like other storages'
            raise AnnotationError(f'{path!r}: not the name of a file; correct {self.ann_file}') from None
        vars(self).setdefault('object_counts', Counter()).update(check_annotation(path, content))
        try:
            return parse_data_info(self, img_info)
        except (AttributeError, FileNotFoundError, cv2.error):  # without a size mmdet opens the image, for its shape
            raise AnnotationError(
                f'{path}: has no size, and the image {img_info["file_name"]} is missing or not '
                'readable; replace the image, or remove both'
            ) from None

    return check_and_parse


def checking_the_classes(load_data_list: Callable) -> Callable:
    """Make ``XMLDataset.load_data_list`` compare the class list with the names of the objects.

    Args:
        load_data_list (Callable): The method.

    Returns:
        Callable: The method, with an :class:`AnnotationError` if a class has no object while other names have some.
    """

    @functools.wraps(load_data_list)
    def load_and_check(self) -> List[dict]:
        self.object_counts = Counter()
        data_list = load_data_list(self)
        check_class_list(osp.normpath(self.ann_file), self.metainfo['classes'], self.object_counts, 'objects')
        return data_list

    return load_and_check


# The class itself is changed, so that data sets derived from it and configs that name it get the checks.
if not hasattr(XMLDataset.parse_data_info, '__wrapped__'):
    XMLDataset.parse_data_info = checking_the_file(XMLDataset.parse_data_info)
    XMLDataset.load_data_list = checking_the_classes(XMLDataset.load_data_list)
