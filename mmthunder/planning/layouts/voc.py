"""Pascal VOC annotations: with ``ImageSets``, which mmdet reads, and XML files in any other arrangement."""

from pathlib import Path
from typing import Dict, List, Optional, Tuple

from ..planning_error import PlanningError
from .layout import Layout, Part, Parts, image_files, split_of_path


def _devkit(root: Path) -> Path:
    """Return the directory that has ``Annotations``, which VOC's archives pack in ``VOCdevkit/VOC2007``."""
    inner = [path.parent for pattern in ('VOC*/', 'VOCdevkit/VOC*/') for path in root.glob(f'{pattern}Annotations')]
    if (root / 'Annotations').is_dir() or not inner:
        return root
    if len(inner) > 1:
        raise PlanningError(f'{root}: has {len(inner)} VOC data sets; give one of them, for example {inner[0]}')
    return inner[0]


def _ids(path: Path) -> List[str]:
    # Lists of a class have a second column.
    return [line.split()[0] for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]


def _pair(images: List[Path], annotations: List[Path]) -> Tuple[Tuple[Path, Optional[Path]], ...]:
    """Pair images with the XML files of the same name: of the same directory, or else the only one anywhere."""
    by_stem: Dict[str, List[Path]] = {}
    for path in annotations:
        by_stem.setdefault(path.stem, []).append(path)
    pairs = []
    for image in images:
        same = by_stem.get(image.stem, [])
        beside = [path for path in same if path.parent == image.parent]
        near = [path for path in same if path.parent.parent == image.parent.parent]
        pairs.append((image, (beside or near or same or [None])[0]))
    return tuple(pairs)


def find_voc(root: Path, parts: Parts) -> Optional[Layout]:
    """Look for Pascal VOC annotations.

    Args:
        root (Path): The data set's directory.
        parts (Parts): Parts that the user named: lists of image ids, or directories of XML files.

    Returns:
        Layout | None: The layout, or None if there is no XML file.

    Raises:
        PlanningError: If it is ambiguous which parts are meant, or a list names images that are not there.
    """
    root = _devkit(root)
    lists = {path.stem: path for path in sorted((root / 'ImageSets/Main').glob('*.txt'))}
    train = parts.train_annotations or lists.get('train') or lists.get('trainval')
    if train and train.is_file():
        val = parts.val_annotations or lists.get('val' if train.stem != 'trainval' else 'test')
        used = [path for path in (train, val) if path]
        unused = tuple(f'ImageSets/Main/{name}.txt' for name in ('test',) if name in lists and lists[name] not in used)
        if all((root / 'JPEGImages' / f'{name}.jpg').is_file() for path in used for name in _ids(path)):
            return Layout(
                'voc', root, Part(train, root), Part(val, root) if val and val.is_file() else None, unused=unused
            )
        return _find_listed(root, train, val, unused)
    return _find_unlisted(root, parts)


def _find_listed(root: Path, train: Path, val: Optional[Path], unused: Tuple[str, ...]) -> Layout:
    """Look for the listed images in formats other than JPEG, which mmdet expects."""
    images = {path.stem: path for path in image_files(root)}

    def part(path: Path) -> Part:
        names = _ids(path)
        missing = [name for name in names if Path(name).stem not in images and name not in images]
        if missing:
            raise PlanningError(
                f'{path}: {len(missing)} of {len(names)} images are not in {root}, for example {missing[0]!r}; '
                'put them back or take them out of the list'
            )
        pairs = []
        for name in names:
            annotation = root / 'Annotations' / f'{Path(name).stem if name not in images else name}.xml'
            pairs.append((images.get(name) or images[Path(name).stem], annotation if annotation.is_file() else None))
        return Part(path, root, tuple(pairs))

    return Layout('xml', root, part(train), part(val) if val else None, unused=unused)


def _find_unlisted(root: Path, parts: Parts) -> Optional[Layout]:
    """Look for XML files that no list divides into splits; directories named after splits may."""
    if parts.train_annotations:

        def named(annotations: Path, images: Optional[Path]) -> Part:
            files = image_files(images or annotations)
            return Part(annotations, root, _pair(list(files), sorted(annotations.rglob('*.xml'))))

        val = parts.val_annotations
        train = named(parts.train_annotations, parts.train_images)
        return Layout('xml', root, train, named(val, parts.val_images) if val else None)
    annotations = sorted(root.rglob('*.xml'))
    if not annotations:
        return None
    splits: Dict[str, List[Path]] = {}
    images = list(image_files(root))
    for path in images:
        splits.setdefault(split_of_path(path, root) or 'train', []).append(path)
    if not splits.get('train'):
        raise PlanningError(
            f'{root}: {len(annotations)} XML files, but no images that could be the training split; name them '
            'with --train-annotations and --train-images'
        )
    by_split = {
        name: Part(root, root, _pair(paths, [a for a in annotations if split_of_path(a, root) in (name, None)]))
        for name, paths in splits.items()
    }
    return Layout('xml', root, by_split['train'], by_split.get('val'), unused=('test',) if 'test' in splits else ())
