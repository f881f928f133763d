"""One small data set, written in every layout that people have."""

import json
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Tuple

import cv2
import numpy as np

CLASSES = ('cat', 'dog')


class Photo(NamedTuple):
    """An image with its objects."""

    name: str
    pixels: np.ndarray
    boxes: List[Tuple[int, int, int, int]]  # x1, y1, x2, y2
    labels: List[int]


Splits = Dict[str, List[Photo]]


def draw(rng: np.random.Generator, name: str, width: int = 96, height: int = 64) -> Photo:
    """Draw two rectangles on a background that no other image has."""
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    boxes, labels = [], []
    for label in range(len(CLASSES)):
        w, h = rng.integers(16, 32, 2)
        x, y = rng.integers(0, width - w), rng.integers(0, height - h)
        cv2.rectangle(pixels, (int(x), int(y)), (int(x + w - 1), int(y + h - 1)), (255 * label, 128, 40), -1)
        boxes.append((int(x), int(y), int(x + w), int(y + h)))
        labels.append(label)
    return Photo(name, pixels, boxes, labels)


def make_photos() -> Splits:
    """Draw ten images to train and four to validate; the last of each has no object."""
    rng = np.random.default_rng(0)
    splits = {
        split: [draw(rng, f'{split}{number:02d}') for number in range(count)]
        for split, count in (('train', 10), ('val', 4))
    }
    return {split: [*images[:-1], images[-1]._replace(boxes=[], labels=[])] for split, images in splits.items()}


def save(photo: Photo, directory: Path, suffix: str = '.jpg') -> str:
    directory.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(directory / f'{photo.name}{suffix}'), photo.pixels)
    return f'{photo.name}{suffix}'


def coco(photos: List[Photo], names: List[str], categories: Tuple[str, ...] = CLASSES) -> dict:
    """Return a COCO annotation file's content; ids of categories start at 1, unused ones follow."""
    images, annotations = [], []
    for number, (photo, name) in enumerate(zip(photos, names)):
        height, width = photo.pixels.shape[:2]
        images.append(dict(id=number, file_name=name, width=width, height=height))
        for (x1, y1, x2, y2), label in zip(photo.boxes, photo.labels):
            box = [x1, y1, x2 - x1, y2 - y1]
            entry = dict(id=len(annotations) + 1, image_id=number, category_id=label + 1, bbox=box)
            annotations.append(dict(entry, area=box[2] * box[3], iscrowd=0))
    names = [dict(id=number, name=name) for number, name in enumerate(categories, 1)]
    return dict(images=images, annotations=annotations, categories=names)


def write_json(content: dict, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def xml(photo: Photo, name: str, path: Path) -> None:
    height, width = photo.pixels.shape[:2]
    objects = ''.join(
        f'<object><name>{CLASSES[label]}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax>'
        f'<ymax>{y2}</ymax></bndbox></object>'
        for (x1, y1, x2, y2), label in zip(photo.boxes, photo.labels)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    size = f'<size><width>{width}</width><height>{height}</height><depth>3</depth></size>'
    path.write_text(f'<annotation><filename>{name}</filename>{size}{objects}</annotation>')


def txt(photo: Photo, path: Path) -> None:
    height, width = photo.pixels.shape[:2]
    lines = [
        f'{label} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} {(x2 - x1) / width} {(y2 - y1) / height}'
        for (x1, y1, x2, y2), label in zip(photo.boxes, photo.labels)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines))


def coco_own(photos: Splits, root: Path) -> None:
    """COCO's own arrangement, with the keypoints that its archive has too."""
    for split, images in photos.items():
        names = [save(photo, root / f'{split}2017') for photo in images]
        write_json(coco(images, names), root / f'annotations/instances_{split}2017.json')
        write_json(coco(images, names), root / f'annotations/person_keypoints_{split}2017.json')


def coco_export(photos: Splits, root: Path) -> None:
    """What annotation services export; their first category is a name for all and has no boxes."""
    for split, images in photos.items():
        directory = root / dict(train='train', val='valid')[split]
        content = coco(images, [save(photo, directory) for photo in images])
        content['categories'].insert(0, dict(id=0, name='pets', supercategory='none'))
        write_json(content, directory / '_annotations.coco.json')
    (root / 'README.roboflow.txt').write_text('exported\n')


def coco_one(photos: Splits, root: Path) -> None:
    """One JSON beside one image directory."""
    images = [photo for split in photos.values() for photo in split]
    write_json(coco(images, [save(photo, root / 'pictures') for photo in images]), root / 'labels.json')


def voc(photos: Splits, root: Path) -> None:
    """Pascal VOC with ImageSets."""
    for split, images in photos.items():
        for photo in images:
            xml(photo, save(photo, root / 'JPEGImages'), root / f'Annotations/{photo.name}.xml')
        (root / 'ImageSets/Main').mkdir(parents=True, exist_ok=True)
        (root / f'ImageSets/Main/{split}.txt').write_text('\n'.join(photo.name for photo in images) + '\n')


def voc_png(photos: Splits, root: Path) -> None:
    """Pascal VOC with ImageSets and images that mmdet's VOC data set does not look for."""
    voc(photos, root)
    for path in (root / 'JPEGImages').glob('*.jpg'):
        path.unlink()
    for images in photos.values():
        for photo in images:
            save(photo, root / 'JPEGImages', '.png')


def voc_flat(photos: Splits, root: Path) -> None:
    """XML files beside the images, with nothing that divides them."""
    for photo in [photo for split in photos.values() for photo in split]:
        xml(photo, save(photo, root), root / f'{photo.name}.xml')


def voc_export(photos: Splits, root: Path) -> None:
    """XML files beside the images of each split."""
    for split, images in photos.items():
        for photo in images:
            xml(photo, save(photo, root / split), root / f'{split}/{photo.name}.xml')


def yolo(photos: Splits, root: Path) -> None:
    """A data.yaml and images/ with labels/ for each split; images without objects have no file."""
    for split, images in photos.items():
        for photo in images:
            save(photo, root / f'images/{split}', '.png')
            if photo.boxes:
                txt(photo, root / f'labels/{split}/{photo.name}.txt')
    (root / 'data.yaml').write_text('path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n')


def yolo_export(photos: Splits, root: Path) -> None:
    """What annotation services export: paths that start one directory above, and a test split that is not there."""
    for split, images in photos.items():
        name = dict(train='train', val='valid')[split]
        for photo in images:
            save(photo, root / name / 'images')
            txt(photo, root / name / 'labels' / f'{photo.name}.txt')
    text = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\nnames: ['cat', 'dog']\n"
    (root / 'data.yaml').write_text(text)


def yolo_flat(photos: Splits, root: Path) -> None:
    """A classes.txt, images and text files in one directory."""
    for photo in [photo for split in photos.values() for photo in split]:
        save(photo, root)
        txt(photo, root / f'{photo.name}.txt')
    (root / 'classes.txt').write_text('cat\ndog\n')


LAYOUTS: Dict[str, Callable[[Splits, Path], None]] = dict(
    coco_own=coco_own,
    coco_export=coco_export,
    coco_one=coco_one,
    voc=voc,
    voc_png=voc_png,
    voc_flat=voc_flat,
    voc_export=voc_export,
    yolo=yolo,
    yolo_export=yolo_export,
    yolo_flat=yolo_flat,
)
WITHOUT_VAL = ('coco_one', 'voc_flat', 'yolo_flat')
