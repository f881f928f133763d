"""COCO annotation files whose errors name the file, the entry and the field."""

import logging
import math
import reprlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from mmdet.datasets import CocoDataset, Objects365V1Dataset, Objects365V2Dataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log

from .annotation_error import LARGEST_PIXEL, AnnotationError
from .class_list import check_class_list


class Field(NamedTuple):
    """What a field of an entry must be.

    Attributes:
        name (str): Its name.
        is_valid (Callable): Tells whether a value is right.
        expected (str): The same in words.
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


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(_is_pixel, value)) and value[2] >= 0 and value[3] >= 0


def _is_area(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _is_flag(value: Any) -> bool:
    return type(value) in (int, bool) and value in (0, 1)


ID = Field('id', _is_id, 'a number or a text')
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
        Field('bbox', _is_box, '[x, y, width, height]: four finite numbers of pixels, the last two not negative'),
        Field('area', _is_area, 'a finite number that is not negative, as width * height of the box'),
        # mmdet trains without it, but cannot evaluate.
        Field('iscrowd', _is_flag, '0, or 1 for a group of objects'),
    ),
)


def _refuse_first(path: str, section: str, entries: List[dict], field: str, bad: List[int], expected: str) -> None:
    """Raise an error about the first of some entries."""
    if bad:
        entry = entries[bad[0]]
        value = f'is {reprlib.repr(entry[field])}' if field in entry else 'is missing'
        others = f' (and in {len(bad) - 1} other entries)' if len(bad) > 1 else ''
        raise AnnotationError(
            f'{path}: {section}[{bad[0]}] with id {reprlib.repr(entry.get("id"))}: {field} {value}'
            f'{others}; expected {expected}'
        )


def _repeated(values: List[Any]) -> List[int]:
    """Find the positions of values that were there before."""
    first: dict = {}
    return [i for i, value in enumerate(values) if first.setdefault(value, i) != i]


def check_annotations(path: str, dataset: Any) -> None:
    """Check what mmdet and pycocotools take for granted.

    Args:
        path (str): Name of the file, for errors.
        dataset (dict): Content of the file. ``annotations`` may be missing, as in COCO's lists of test images.

    Raises:
        AnnotationError: At the first field that is missing or wrong, id that is not unique, or reference to
            an image or a category that is not there.
    """
    if type(dataset) is not dict:
        raise AnnotationError(
            f'{path}: holds a {type(dataset).__name__}; expected an object with images, annotations '
            'and categories, as COCO has them'
        )
    for section, fields in SECTIONS.items():
        entries = dataset.get(section, [] if section == 'annotations' else None)
        if type(entries) is not list or not all(type(entry) is dict for entry in entries):
            what = 'is not a list of objects' if section in dataset else 'is missing'
            raise AnnotationError(f'{path}: {section} {what}; expected a list as COCO has it')
        for field in fields:
            name, is_valid = field.name, field.is_valid
            bad = [i for i, entry in enumerate(entries) if not is_valid(entry.get(name))]
            _refuse_first(path, section, entries, name, bad, field.expected)
        _refuse_first(
            path, section, entries, 'id', _repeated([entry['id'] for entry in entries]), 'an id that no other entry has'
        )
    categories, annotations = dataset['categories'], dataset.get('annotations', [])
    _refuse_first(
        path,
        'categories',
        categories,
        'name',
        _repeated([category['name'] for category in categories]),
        'a name that no other category has',
    )
    for field, section in (('image_id', 'images'), ('category_id', 'categories')):
        known = {entry['id'] for entry in dataset[section]}
        bad = [i for i, annotation in enumerate(annotations) if annotation[field] not in known]
        _refuse_first(path, 'annotations', annotations, field, bad, f'the id of one of the {section}')


def find_unused(dataset: dict) -> List[Any]:
    """List the ids of the annotations that mmdet leaves out without a word.

    Args:
        dataset (dict): Content of a file that :func:`check_annotations` accepts.

    Returns:
        list: Annotations whose boxes are outside of their image, have a side below 1 px or have no area.
    """
    sizes = {image['id']: (image['width'], image['height']) for image in dataset['images']}
    unused = []
    for annotation in dataset.get('annotations', []):
        x, y, w, h = annotation['bbox']
        width, height = sizes[annotation['image_id']]
        if w < 1 or h < 1 or annotation['area'] == 0 or x >= width or y >= height or x + w <= 0 or y + h <= 0:
            unused.append(annotation['id'])
    return unused


class CheckedCOCO(COCO):
    """mmdet's reader of COCO files, which checks what it has read and the class list that is asked for.

    Args:
        annotation_file (str, optional): Path of the file. Defaults to None: no annotations.

    Raises:
        AnnotationError: If the file is damaged or a field is wrong.
    """

    def __init__(self, annotation_file: Optional[str] = None) -> None:
        self.annotation_file = annotation_file
        try:
            super().__init__(annotation_file)
        except AnnotationError:
            raise
        except AssertionError:  # of pycocotools
            raise AnnotationError(
                f'{annotation_file}: holds no object; expected one with images, annotations and '
                'categories, as COCO has them'
            ) from None
        except (ValueError, RecursionError) as error:
            raise AnnotationError(
                f'{annotation_file}: not readable as JSON ({error}); the file is damaged or was cut '
                'off, so write or download it again'
            ) from None

    def createIndex(self) -> None:  # noqa: N802  pycocotools' name
        """Check the annotations, tell which ones will not be used, and index them."""
        check_annotations(self.annotation_file, self.dataset)
        if 'annotations' not in self.dataset:
            print_log(f'{self.annotation_file}: has no annotations', logger='current', level=logging.WARNING)
        unused = find_unused(self.dataset)
        if unused:
            print_log(
                f'{self.annotation_file}: {len(unused)} of {len(self.dataset["annotations"])} annotations are not '
                'used, since their boxes are outside of the image, have a side below 1 px or have no area; their ids '
                f'are {reprlib.repr(unused)}',
                logger='current',
                level=logging.WARNING,
            )
        super().createIndex()

    def get_cat_ids(
        self, cat_names: Sequence[str] = (), sup_names: Sequence[str] = (), cat_ids: Sequence[Any] = ()
    ) -> List[Any]:
        """List ids of categories, in the order of the file, in which mmdet numbers the labels.

        Args:
            cat_names (Sequence[str]): Only those with these names: the class list of a data set, whose labels are
                numbered in the same order if it is right. Defaults to ``()``: any.
            sup_names (Sequence[str]): Only those with these names of supercategories. Defaults to ``()``: any.
            cat_ids (Sequence): Only those with these ids. Defaults to ``()``: any.

        Returns:
            list: The ids.

        Raises:
            AnnotationError: If a name of the class list is not there or the order is another one. Without any
                category in the file, there are no labels to be wrong.
        """
        ids = super().get_cat_ids(cat_names, sup_names, cat_ids)
        if cat_names and self.cats:
            counts = {category['name']: len(self.catToImgs.get(key, ())) for key, category in self.cats.items()}
            check_class_list(self.annotation_file, cat_names, counts, 'categories')
            names = tuple(self.cats[key]['name'] for key in ids)
            if names != tuple(cat_names):
                raise AnnotationError(
                    f'{self.annotation_file}: metainfo lists the classes {tuple(cat_names)}, but mmdet numbers them in '
                    f'the order of the categories; set dataset.metainfo=dict(classes={names})'
                )
        return ids


# The classes themselves are changed, so that data sets derived from them and configs that name them get the checks.
CocoDataset.COCOAPI = Objects365V1Dataset.COCOAPI = Objects365V2Dataset.COCOAPI = CheckedCOCO
