"""Checks of COCO annotation files, whose errors name the file, the entry and the field."""

import gc
import json
import math
import reprlib
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from mmengine.fileio import get_local_path

from .annotation_error import LARGEST_PIXEL, AnnotationError


class Field(NamedTuple):
    """A field of an entry and its valid values.

    Attributes:
        name (str): Its name.
        is_valid (Callable): Whether a value is valid.
        expected (str): What a valid value is, for messages.
    """

    name: str
    is_valid: Callable[[Any], bool]
    expected: str


# The types themselves are compared: JSON's true is a bool, which is an int to isinstance.
def _is_id(value: Any) -> bool:
    return type(value) in (int, str)


def _is_text(value: Any) -> bool:
    return type(value) is str and value != ''


def _is_pixel(value: Any) -> bool:
    return type(value) in (int, float) and -LARGEST_PIXEL <= value <= LARGEST_PIXEL  # not true of NaN


def _is_side(value: Any) -> bool:
    return _is_pixel(value) and value >= 1


def is_box(value: Any) -> bool:
    """Return whether a value is a box of COCO: [x, y, width, height], of sides that are not negative."""
    return type(value) is list and len(value) == 4 and all(map(_is_pixel, value)) and value[2] >= 0 and value[3] >= 0


def _is_area(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _is_flag(value: Any) -> bool:
    return type(value) in (int, bool) and value in (0, 1)


ID = Field('id', _is_id, 'an integer or a string')
SIDE = 'a number of pixels, at least 1'
SECTIONS: Dict[str, Tuple[Field, ...]] = dict(
    images=(
        ID,
        Field('file_name', _is_text, 'the name of the image file'),
        Field('width', _is_side, SIDE),
        Field('height', _is_side, SIDE),
    ),
    categories=(
        ID,
        Field('name', _is_text, 'the name of the class'),
    ),
    annotations=(
        ID,
        Field('image_id', _is_id, 'the id of an image'),
        Field('category_id', _is_id, 'the id of a category'),
        Field('bbox', is_box, '[x, y, width, height]: four finite numbers of pixels, the last two at least 0'),
        Field('area', _is_area, 'a finite number, at least 0, as width * height of the box'),
        # mmdet trains without it but cannot evaluate.
        Field('iscrowd', _is_flag, '0, or 1 for a group of objects'),
    ),
)


def _describe(path: str, section: str, entries: List[dict], field: str, bad: List[int], expected: str) -> str:
    """Describe the first of some invalid entries in one line."""
    entry = entries[bad[0]]
    value = f'is {reprlib.repr(entry[field])}' if field in entry else 'is missing'
    others = f' (and in {len(bad) - 1} other entries)' if len(bad) > 1 else ''
    return (
        f'{path}: {section}[{bad[0]}] with id {reprlib.repr(entry.get("id"))}: {field} {value}'
        f'{others}; expected {expected}'
    )


def _repeated(values: List[Any]) -> List[int]:
    """Find the positions of values that occur earlier in a list."""
    first: dict = {}
    return [i for i, value in enumerate(values) if first.setdefault(value, i) != i]


def find_coco_errors(path: str, content: Any) -> Iterator[str]:
    """Find what mmdet and pycocotools take for granted but a COCO file does not have.

    Args:
        path (str): Name of the file, for messages.
        content (dict): Content of the file. ``annotations`` may be missing, as in COCO's lists of test images.

    Yields:
        str: One line for each section that is missing, each field with missing or invalid values, and, if there are
        none of these, ids and names that are not unique and references to images or categories that do not exist.
    """
    if type(content) is not dict:
        yield (
            f'{path}: holds a {type(content).__name__}; expected an object with images, annotations '
            'and categories, as COCO has them'
        )
        return
    is_valid = True
    for section, fields in SECTIONS.items():
        entries = content.get(section, [] if section == 'annotations' else None)
        if type(entries) is not list or not all(type(entry) is dict for entry in entries):
            what = 'is not a list of objects' if section in content else 'is missing'
            yield f'{path}: {section} {what}; expected a list as COCO has it'
            is_valid = False
            continue
        for field in fields:
            name, is_field_valid = field.name, field.is_valid
            bad = [i for i, entry in enumerate(entries) if not is_field_valid(entry.get(name))]
            if bad:
                yield _describe(path, section, entries, name, bad, field.expected)
                is_valid = False
    if not is_valid:
        return  # ids may not even be hashable
    for section, field, expected in (
        ('images', 'id', 'an id that no other entry has'),
        ('categories', 'id', 'an id that no other entry has'),
        ('categories', 'name', 'a name that no other category has'),
        ('annotations', 'id', 'an id that no other entry has'),
    ):
        entries = content.get(section, [])
        bad = _repeated([entry[field] for entry in entries])
        if bad:
            yield _describe(path, section, entries, field, bad, expected)
    annotations = content.get('annotations', [])
    for field, section in (('image_id', 'images'), ('category_id', 'categories')):
        known = {entry['id'] for entry in content[section]}
        bad = [i for i, annotation in enumerate(annotations) if annotation[field] not in known]
        if bad:
            yield _describe(path, 'annotations', annotations, field, bad, f'the id of one of the {section}')


@contextmanager
def no_garbage() -> Iterator[None]:
    """Pause Python's search for reference cycles, which takes half of the time where there are millions of objects."""
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_enabled:
            gc.enable()


def read_coco(path: str, backend_args: Optional[dict] = None, encoding: str = 'utf-8') -> Any:
    """Read a COCO file.

    Args:
        path (str): Path of the file.
        backend_args (dict, optional): Arguments of mmengine's file backend. Defaults to None: the local disk.
        encoding (str): Its encoding. Defaults to ``'utf-8'``, in which pycocotools refuses a byte order mark;
            ``'utf-8-sig'`` skips it.

    Returns:
        Any: Its content, not checked.

    Raises:
        AnnotationError: If the file is not readable as JSON.
        FileNotFoundError: If there is no such file.
    """
    try:
        with get_local_path(path, backend_args=backend_args) as local_path, no_garbage():
            with open(local_path, encoding=encoding) as file:
                return json.load(file)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(
            f'{path}: not readable as JSON ({error}); the file is damaged or was cut off, so write or download it again'
        ) from None


def load_coco(path: str, backend_args: Optional[dict] = None) -> dict:
    """Read a COCO file and check its fields, ids and references.

    Args:
        path (str): Path of the file.
        backend_args (dict, optional): Arguments of mmengine's file backend. Defaults to None: the local disk.

    Returns:
        dict: Its content: ``images``, ``categories`` and, unless it is a list of images, ``annotations``.

    Raises:
        AnnotationError: If the file is damaged, or at the first error of :func:`find_coco_errors`.
        FileNotFoundError: If there is no such file.
    """
    content = read_coco(path, backend_args)
    for error in find_coco_errors(path, content):
        raise AnnotationError(error)
    return content


def find_unused(content: dict) -> List[Any]:
    """Find the annotations that mmdet skips silently.

    Args:
        content (dict): Content of a file without errors, as :func:`load_coco` returns it.

    Returns:
        list: Ids of annotations whose boxes are outside of their image, have a side below 1 px or have no area.
    """
    sizes = {image['id']: (image['width'], image['height']) for image in content['images']}
    unused = []
    for annotation in content.get('annotations', []):
        x, y, w, h = annotation['bbox']
        width, height = sizes[annotation['image_id']]
        if w < 1 or h < 1 or annotation['area'] == 0 or x >= width or y >= height or x + w <= 0 or y + h <= 0:
            unused.append(annotation['id'])
    return unused
