"""Compares class lists: with the names in annotations, and with each other."""

from typing import Any, Mapping, Optional, Sequence, Tuple

LOADERS = 'train_dataloader, val_dataloader and test_dataloader'


def find_list_error(classes: Any) -> Optional[str]:
    """Find what is wrong with a class list by itself.

    Args:
        classes (Any): ``metainfo['classes']`` of a dataset.

    Returns:
        str, optional: One line, or None if it is a list of different names.
    """
    if isinstance(classes, str):
        return (
            f'metainfo.classes is the string {classes!r}; expected a list of names, of one class as '
            f'classes=({classes!r},), or the path of a text file with a name in each line'
        )
    if not isinstance(classes, (list, tuple)) or not classes:
        return f'metainfo.classes is {classes!r}; expected a list of names'
    wrong = [name for name in classes if not isinstance(name, str) or not name]
    if wrong:
        return f'metainfo.classes has {wrong[0]!r}; expected names, which are strings, as {str(wrong[0] or "cat")!r}'
    repeated = sorted({name for name in classes if list(classes).count(name) > 1})
    if repeated:
        return f'metainfo.classes has {repeated} more than once; expected each name once'
    return None


def compare_with_annotations(
    path: str, classes: Sequence[str], counts: Mapping[str, int], section: str, training: bool
) -> Tuple[Optional[str], Optional[str]]:
    """Compare a class list with the names in annotations.

    Args:
        path (str): Name of the annotation file or of the list of them, for messages.
        classes (Sequence[str]): The class list, as in metainfo.
        counts (Mapping[str, int]): Number of objects of each name in the annotations, in their order.
        section (str): ``'categories'`` of a COCO file or ``'objects'`` of VOC files. A class need not have objects.
        training (bool): Whether the dataset is trained on.

    Returns:
        tuple[str or None, str or None]: The error, if a class is missing, and a warning, if objects will not be used
        or classes not be evaluated.
    """
    missing = [name for name in classes if name not in counts]
    others = {name: count for name, count in counts.items() if name not in classes}
    if missing and others and section == 'objects' and not training:  # VOC files do not list their categories
        return None, (
            f'{path}: has no objects of the classes {missing}, but some of {list(others)}, which metainfo does not list'
        )
    if missing and others:
        if training:
            advice = (
                f'set metainfo=dict(classes=...) of the datasets of {LOADERS} to names among these, and the '
                "head's num_classes to their number"
            )
        else:
            advice = (
                'let metainfo=dict(classes=...) list the classes that the detector was trained with, and the '
                'annotations spell them alike'
            )
        if section == 'categories':
            advice += f', or, if they are other classes than {list(others)}, add {missing} to the categories'
        return (
            f'{path}: the classes {missing} of metainfo are not among the {section}, which have '
            f'{list(others)} that metainfo does not; {advice}'
        ), None
    if missing and section == 'categories':
        if training:
            return (
                f'{path}: the classes {missing} of metainfo are not among the categories; mmdet numbers the labels by '
                f'the categories of the file, so that those of other classes would shift; add {missing} to the '
                f'categories, in the order of metainfo, {tuple(classes)}, each with an id of its own'
            ), None
        return None, f'{path}: has no categories {missing}, so that these classes are not evaluated'
    unused = ', '.join(f'{count} {name!r}' for name, count in others.items() if count)
    if unused:
        return None, f'{path}: objects that are not used, since metainfo does not list their classes: {unused}'
    return None, None
