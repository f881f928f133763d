"""Write the objects of a detection data set as a classification data set.

Each annotated object becomes an image of its box with a margin, in the directory of its class; regions
without objects become the class `background`. The layout is ImageNet's (`train/CLASS/*.jpg`,
`val/CLASS/*.jpg`), so that a backbone can be pretrained on the data set that its detector is for. The
data sets and splits are those of a detector's config.

    python tools/misc/make_crops.py configs/thundernet/snet49_bccd.py --out data/bccd_crops
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import List, Optional, Tuple

import cv2
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import DATASETS
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from torch.utils.data import Dataset

from mmthunder.apis import read_image
from mmthunder.datasets import base_datasets
from mmthunder.datasets.image_files import tolerate_damage
from mmthunder.tools.arguments import at_least
from mmthunder.utils.atomic_write import atomic_directory

BACKGROUND = 'background'


def window(box: np.ndarray, margin: float, width: int, height: int) -> Tuple[int, int, int, int]:
    """Return the square around a box, shifted into the image where it extends beyond it.

    Args:
        box (np.ndarray): x1, y1, x2, y2 in pixels.
        margin (float): Side of the square, relative to the longer side of the box.
        width (int): Width of the image, in pixels.
        height (int): Height of the image, in pixels.

    Returns:
        tuple[int, int, int, int]: x1, y1, x2, y2 in pixels, inside the image; no square where the image
        is too narrow for it.
    """
    limits = np.array([width, height])
    side = round(margin * max(box[2] - box[0], box[3] - box[1]))
    size = np.minimum(max(side, 1), limits)
    start = np.round((box[:2] + box[2:] - size) / 2).astype(int).clip(0, limits - size)
    return (*start.tolist(), *(start + size).tolist())


def background_boxes(rng: np.random.Generator, boxes: np.ndarray, count: int, width: int, height: int) -> np.ndarray:
    """Sample squares of the size of objects that contain no object.

    Args:
        rng (np.random.Generator): Source of randomness.
        boxes (np.ndarray): Objects with shape (N, 4): x1, y1, x2, y2 in pixels; at least one.
        count (int): Number of squares.
        width (int): Width of the image, in pixels.
        height (int): Height of the image, in pixels.

    Returns:
        np.ndarray: Squares with shape (M, 4): at most ``count``, fewer in a crowded image. The intersection
        with each object is at most 5 % of the smaller area.
    """
    found = []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1).clip(max=min(width, height))
    for _ in range(50 * count):
        side = rng.choice(sides)
        start = rng.uniform(0, np.array([width, height]) - side)
        overlaps = np.minimum(boxes[:, 2:], start + side) - np.maximum(boxes[:, :2], start)
        if (overlaps.clip(0).prod(1) <= 0.05 * np.minimum(areas, side**2)).all():
            found.append((*start, *(start + side)))
        if len(found) == count:
            break
    return np.array(found).reshape(-1, 4)


def write_split(dataset: Dataset, directory: Path, split_id: int, args: argparse.Namespace) -> None:
    """Write the crops of one split.

    Args:
        dataset (Dataset): mmdet's data set, possibly wrapped; its annotations and image paths are read.
        directory (Path): Directory of the split.
        split_id (int): Index of the split, a part of the seed.
        args (argparse.Namespace): The command line.
    """
    bases = list(base_datasets(dataset))
    classes = bases[0].metainfo['classes']
    for name in (*classes, BACKGROUND):
        (directory / name).mkdir(parents=True)
    counts = Counter()
    tolerate_damage(dataset, skip_unreadable=False)
    images = ((base, base.get_data_info(i)) for base in bases for i in range(len(base)))
    for index, (base, info) in enumerate(images):
        # As training with the config reads it, for example without EXIF orientation.
        loader = next(iter(base.pipeline.transforms), LoadImageFromFile())
        image = read_image(loader, info['img_path']).astype(np.uint8)
        height, width = image.shape[:2]
        boxes = np.array([instance['bbox'] for instance in info['instances']], float).reshape(-1, 4)
        boxes = boxes.clip(0, [width, height, width, height])
        large = (boxes[:, 2:] - boxes[:, :2]).min(1) >= args.min_side
        crops = [
            (classes[instance['bbox_label']], window(box, args.margin, width, height))
            for instance, box, keep in zip(info['instances'], boxes, large)
            if keep and not instance['ignore_flag']
        ]
        if large.any():
            # One generator per image: its crops depend on the seed, its split and its index only.
            rng = np.random.default_rng((args.seed, split_id, index))
            places = background_boxes(rng, boxes[large], args.background, width, height)
            crops += [(BACKGROUND, window(place, 1, width, height)) for place in places]
        for number, (name, (x1, y1, x2, y2)) in enumerate(crops):
            path = directory / name / f'{index:06d}_{number:03d}.jpg'
            if not cv2.imwrite(str(path), image[y1:y2, x1:x2], [cv2.IMWRITE_JPEG_QUALITY, 95]):
                raise OSError(f'cannot write {path}')
            counts[name] += 1
    print(f'{directory.name}: ' + ', '.join(f'{counts[name]} {name}' for name in (*classes, BACKGROUND)))


def main(argv: Optional[List[str]] = None) -> None:
    """Parse the command line and write the data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help="detector's config, whose train and val data are cropped")
    parser.add_argument('--out', type=Path, required=True, help='directory to write')
    parser.add_argument(
        '--margin', type=float, default=1.2, help="side of a crop, relative to the longer side of the object's box"
    )
    parser.add_argument(
        '--min-side', type=float, default=8, help='objects with a shorter side below this, in pixels, are left out'
    )
    parser.add_argument(
        '--background', type=at_least(0), default=2, help='maximum number of crops per image without an object'
    )
    parser.add_argument('--seed', type=at_least(0), default=0, help='the same seed gives the same data set')
    parser.add_argument('--force', action='store_true', help='replace an existing directory')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='changes to the config, as mim takes them')
    args = parser.parse_args(argv)
    if args.out.exists() and not args.force:
        parser.error(f'{args.out} exists; give another --out, or --force to replace it')
    if args.min_side < 0:
        parser.error(f'--min-side {args.min_side}: must be at least 0')
    if args.margin <= 0:
        parser.error(f'--margin {args.margin}: must be above 0')
    try:
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        datasets = {split: cfg[f'{split}_dataloader']['dataset'] for split in ('train', 'val')}
    except (OSError, SyntaxError, KeyError, TypeError) as error:
        parser.error(f'{args.config}: {error}; give a config with train_dataloader and val_dataloader')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    try:
        with atomic_directory(args.out) as directory:
            for split_id, (split, dataset) in enumerate(datasets.items()):
                write_split(DATASETS.build(dataset), directory / split, split_id, args)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
