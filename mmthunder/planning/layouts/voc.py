"""Pascal VOC annotations: with ``ImageSets``, which mmdet reads, and XML files in any other arrangement."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Dict, List, Optional, Tuple
from xml.etree import ElementTree

from mmengine.fileio import list_from_file

from mmthunder.datasets import parse_voc

from ..planning_error import PlanningError
from .layout import Layout, Part, Parts, files_below, image_files, read_lines, split_of_path

XML = ('.xml',)
Pairs = Tuple[Tuple[Path, Optional[Path]], ...]
# Share of the images that may have no XML file beside XML files without an image; more are misnamed, not background.
MAX_UNPAIRED = 0.05


def _devkit(root: Path) -> Path:
    """Return the directory that has ``Annotations``, which VOC's archives pack in ``VOCdevkit/VOC2007``."""
    inner = [path.parent for pattern in ('VOC*/', 'VOCdevkit/VOC*/') for path in root.glob(f'{pattern}Annotations')]
    if (root / 'Annotations').is_dir() or not inner:
        return root
    if len(inner) > 1:
        raise PlanningError(f'{root}: has {len(inner)} VOC data sets; give one of them, for example {inner[0]}')
    return inner[0]


def read_ids(path: Path) -> List[str]:
    """Read a list of image ids, without the second column of -1, 0 and 1 in lists of a class.

    Args:
        path (Path): The list.

    Returns:
        list[str]: The ids, which may have blanks inside.

    Raises:
        PlanningError: If it is not text in UTF-8.
    """
    lines = read_lines(path)
    columns = [re.fullmatch(r'(.*\S)\s+(-1|0|1)', line) for line in lines]
    return [match[1] for match in columns if match] if all(columns) else lines


def _mmdet_reads(root: Path, path: Path) -> bool:
    """Return whether mmdet reads a list, which has ids and nothing else, its JPEG images and its XML files."""
    ids = read_ids(path)
    if ids != list_from_file(str(path)):
        return False
    try:
        for name in ids:
            annotation = root / f'Annotations/{name}.xml'
            parse_voc(str(annotation), annotation.read_bytes())
    except (OSError, ValueError):  # AnnotationError among them
        return False
    return all((root / f'JPEGImages/{name}.jpg').is_file() for name in ids)


@lru_cache(2**20)
def _likeness(first: Path, second: Path) -> Tuple[int, int]:
    """Measure how alike two directories are: how many names they have in common, then how few others."""
    names, others = set(first.parts), set(second.parts)
    return len(names & others), -len(names ^ others)


def _named_image(path: Path) -> str:
    """Return the name, without suffix, of the image that an XML file says it is of."""
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError):
        return ''
    if root.tag == 'annotations':
        raise PlanningError(f"{path}: CVAT's own XML, which is not supported; export as COCO 1.0 or Pascal VOC 1.1")
    return Path((root.findtext('filename') or '').replace('\\', '/')).stem


def _pair(images: List[Path], annotations: List[Path]) -> Tuple[Pairs, List[Path]]:
    """Pair images with the XML files of the same name, or else with those that name them.

    Of several, the one whose directory is most like the image's is taken.

    Args:
        images (list[Path]): The images.
        annotations (list[Path]): The XML files.

    Returns:
        tuple[tuple, list[Path]]: The pairs, in the order of the images, and the XML files that are in none.

    Raises:
        PlanningError: If several XML files may be an image's, or one is of another kind.
    """
    same_images: Dict[str, List[Path]] = {}
    for image in images:
        same_images.setdefault(image.stem, []).append(image)
    same: Dict[str, List[Path]] = {}
    for path in annotations:
        same.setdefault(path.stem, []).append(path)
    bare = same_images.keys() - same.keys()
    for path in annotations if bare else ():
        name = _named_image(path) if path.stem not in same_images else ''
        if name in bare:
            same.setdefault(name, []).append(path)
    closest = {
        path: max(_likeness(image.parent, path.parent) for image in same_images[stem])
        for stem in same_images
        for path in same.get(stem, [])
    }
    pairs = []
    for image in images:
        # Those that another image of the same name is closer to are not its own.
        own = [path for path in same.get(image.stem, []) if _likeness(image.parent, path.parent) == closest[path]]
        best = [path for path in own if closest[path] == max(closest[other] for other in own)]
        if len(best) > 1:
            raise PlanningError(f'{image}: its annotations may be {best[0]} or {best[1]}; remove one of them')
        pairs.append((image, best[0] if best else None))
    used = {path for _, path in pairs}
    return tuple(pairs), [path for path in annotations if path not in used]


def find_voc(root: Path, parts: Parts) -> Optional[Layout]:
    """Look for Pascal VOC annotations.

    Args:
        root (Path): The data set's directory.
        parts (Parts): Parts that the user named: lists of image ids, or directories of XML files.

    Returns:
        Layout | None: The layout, or None if there is no XML file.

    Raises:
        PlanningError: If it is ambiguous which parts are meant, images or XML files of a list are not there, or names
            do not tell which XML file is of which image.
    """
    root = _devkit(root)
    lists = {path.stem: path for path in sorted((root / 'ImageSets/Main').glob('*.txt'))}
    train = parts.train_annotations or lists.get('train') or lists.get('trainval')
    if train and train.is_file():
        val = parts.val_annotations or lists.get('val' if train.stem != 'trainval' else 'test')
        unused = ('ImageSets/Main/test.txt',) if lists.get('test') not in (None, train, val) else ()
        if val and (not val.is_file() or not read_ids(val)):
            val, unused = None, (*unused, f'{val} (has no images)')
        used = [path for path in (train, val) if path]
        if all(_mmdet_reads(root, path) for path in used):
            return Layout('voc', root, Part(train, root), Part(val, root) if val else None, unused=unused)
        return _find_listed(root, train, val, unused)
    return _find_unlisted(root, parts)


def _find_listed(root: Path, train: Path, val: Optional[Path], unused: Tuple[str, ...]) -> Layout:
    """Look for the listed images, in any format, and XML files where mmdet does not read them as they are."""
    directory = root / 'JPEGImages' if (root / 'JPEGImages').is_dir() else root
    images: Dict[str, List[Path]] = {}
    for image in image_files(directory):
        name = image.relative_to(directory)
        for key in {name.as_posix(), name.with_suffix('').as_posix(), image.name, image.stem}:
            images.setdefault(key, []).append(image)

    def annotation(image: Path) -> Path:
        parallel = root / 'Annotations' / image.relative_to(directory).with_suffix('.xml')
        return parallel if parallel.is_file() else root / f'Annotations/{image.stem}.xml'

    def part(path: Path) -> Part:
        names = read_ids(path)
        unclear = [name for name in names if len(images.get(name, [])) > 1]
        if unclear:
            first, second, *_ = images[unclear[0]]
            raise PlanningError(f'{path}: {unclear[0]!r} may be {first} or {second}; write its directory and suffix')
        found = {name: images[name][0] for name in names if name in images}
        for what, missing in (
            ('images', [name for name in names if name not in found]),
            ('XML files', [name for name in found if not annotation(found[name]).is_file()]),
        ):
            if missing:
                raise PlanningError(
                    f'{path}: {what} of {len(missing)} of {len(names)} names are not in {root}, for example '
                    f'{missing[0]!r}; put them back or take them out of the list'
                )
        return Part(path, root, tuple((found[name], annotation(found[name])) for name in names))

    return Layout('xml', root, part(train), part(val) if val else None, unused=unused)


def _find_unlisted(root: Path, parts: Parts) -> Optional[Layout]:
    """Look for XML files that no list divides into splits; directories named after splits may."""
    if parts.train_annotations:

        def named(annotations: Path, images: Optional[Path]) -> Part:
            pairs, _ = _pair(list(image_files(images or annotations)), list(files_below(annotations, XML)))
            return Part(annotations, root, pairs)

        val = parts.val_annotations
        train = named(parts.train_annotations, parts.train_images)
        if not any(path for _, path in train.pairs):
            return None
        return Layout('xml', root, train, named(val, parts.val_images) if val else None)
    annotations = list(files_below(root, XML))
    if not annotations:
        return None
    pairs, orphans = _pair(list(image_files(root)), annotations)
    splits: Dict[str, List[Tuple[Path, Optional[Path]]]] = {}
    for image, path in pairs:
        splits.setdefault(split_of_path(image, root) or 'train', []).append((image, path))
    if not splits.get('train'):
        raise PlanningError(
            f'{root}: {len(annotations)} XML files, but no images that could be the training split; name them '
            'with --train-annotations and --train-images'
        )
    used = [*splits['train'], *splits.get('val', [])]
    bare = [image for image, path in used if not path]
    if orphans and (len(bare) == len(used) or min(len(orphans), len(bare)) > MAX_UNPAIRED * len(used)):
        raise PlanningError(
            f'{root}: {len(orphans)} XML files have no image of their name, for example {orphans[0]}, and {len(bare)} '
            f'images no XML file, for example {bare[0]}; give them the same name, or move the XML files elsewhere'
        )
    unused = ('test',) if 'test' in splits else ()
    if orphans:
        unused = (*unused, f'{len(orphans)} XML files without an image, for example {orphans[0]}')
    by_split = {name: Part(root, root, tuple(found)) for name, found in splits.items()}
    return Layout('xml', root, by_split['train'], by_split.get('val'), unused=unused)
