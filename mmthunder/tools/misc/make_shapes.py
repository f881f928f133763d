"""Write `shapes`, a small synthetic detection data set in COCO format.

Shapes on textured backgrounds: six classes that differ in outline and in surface pattern, never in
colour, size or angle, which are drawn from the same distributions for all; overlapping objects, and
some images without objects. It is what `make train` and the tests learn from without a download.

    python tools/misc/make_shapes.py --out data/shapes
"""

import argparse
import json
from pathlib import Path
from typing import List, Optional, Tuple

import cv2
import numpy as np

from mmthunder.tools.arguments import at_least
from mmthunder.utils.atomic_write import atomic_directory

CLASSES = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')


def noise(rng: np.random.Generator, size: int, coarsest: int) -> np.ndarray:
    """Sum octaves of smooth noise.

    Args:
        rng (np.random.Generator): Source of randomness.
        size (int): Side of the square, in pixels.
        coarsest (int): Cells along a side in the coarsest octave.

    Returns:
        np.ndarray: Values with mean 0 and standard deviation 1, (size, size).
    """
    out = np.zeros((size, size), np.float32)
    for octave in range(3):
        cells = coarsest * 2**octave
        grid = rng.standard_normal((cells, cells), dtype=np.float32)
        out += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC) / 2**octave
    return (out - out.mean()) / (out.std() + 1e-6)


def texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a texture: a colour, varied by noise or by noisy stripes of random angle.

    Args:
        rng (np.random.Generator): Source of randomness.
        size (int): Side of the square, in pixels.

    Returns:
        np.ndarray: BGR values in float32, (size, size, 3).
    """
    pattern = noise(rng, size, int(rng.integers(3, 9)))
    if rng.random() < 0.4:
        angle, period = rng.uniform(0, np.pi), rng.uniform(8, 32)
        y, x = np.mgrid[:size, :size].astype(np.float32)
        pattern = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period + pattern)
    colour = rng.uniform(30, 225, 3).astype(np.float32)
    amplitude = rng.uniform(5, 20, 3).astype(np.float32)
    return colour + pattern[..., None] * amplitude


def surface(rng: np.random.Generator, name: str, size: int, radius: float) -> np.ndarray:
    """Draw a class's surface: its pattern in two random colours, with noise.

    Args:
        rng (np.random.Generator): Source of randomness.
        name (str): One of :data:`CLASSES`.
        size (int): Side of the square, in pixels.
        radius (float): Radius of the object, in pixels; the pattern's period follows it.

    Returns:
        np.ndarray: BGR values in float32, (size, size, 3).
    """
    ground = texture(rng, size)
    y, x = np.mgrid[:size, :size].astype(np.float32) * (2 * np.pi / (radius * rng.uniform(0.5, 0.7)))
    x, y = x + rng.uniform(0, 2 * np.pi), y + rng.uniform(0, 2 * np.pi)
    pattern = {
        'circle': lambda: np.zeros_like(x, bool),  # plain
        'square': lambda: np.sin(x / 1.5) * np.sin(y / 1.5) > 0,  # checks
        'triangle': lambda: np.sin(y) > 0,  # stripes
        'star': lambda: np.cos(x) + np.cos(y) > 0.8,  # dots
        'cross': lambda: np.sin(x + y) > 0,  # slanted stripes
        'ring': lambda: noise(rng, size, max(int(3 * size / radius), 2)) > 0,  # blotches
    }[name]()
    # The second colour is far from the first in each channel.
    return np.where(pattern[..., None], (ground + 128) % 256, ground)


def outlines(name: str) -> List[np.ndarray]:
    """Return a class's outline in a unit circle.

    Args:
        name (str): One of :data:`CLASSES`.

    Returns:
        list[np.ndarray]: Polygons of (x, y), the first filled, further ones cut out.
    """

    def regular(corners: int, radius: float = 1.0) -> np.ndarray:
        angle = np.arange(corners) * 2 * np.pi / corners
        return radius * np.stack((np.cos(angle), np.sin(angle)), 1)

    if name == 'circle':
        return [regular(48)]
    if name == 'ring':
        return [regular(48), regular(48, 0.55)]
    if name == 'square':
        return [regular(4)]
    if name == 'triangle':
        return [regular(3)]
    if name == 'star':
        star = regular(10)
        star[1::2] *= 0.42
        return [star]
    # A plus sign with arms 0.6 wide.
    arm = 0.3
    return [
        np.array(
            [
                (1, arm),
                (arm, arm),
                (arm, 1),
                (-arm, 1),
                (-arm, arm),
                (-1, arm),
                (-1, -arm),
                (-arm, -arm),
                (-arm, -1),
                (arm, -1),
                (arm, -arm),
                (1, -arm),
            ]
        )
        / np.hypot(1, arm)
    ]


def place_shape(rng: np.random.Generator, name: str, size: int) -> Tuple[np.ndarray, List[np.ndarray], float]:
    """Draw a shape's mask at a random place, size, angle and stretch.

    Args:
        rng (np.random.Generator): Source of randomness.
        name (str): One of :data:`CLASSES`.
        size (int): Side of the image, in pixels.

    Returns:
        tuple[np.ndarray, list[np.ndarray], float]: Opacity from 0 to 1, (size, size), the polygons and
        the radius, both in pixels.
    """
    radius = float(size * np.exp(rng.uniform(np.log(0.16), np.log(0.33))))
    stretch = np.diag(radius * np.array([1, rng.uniform(0.8, 1)]))
    angle = np.pi / 2 + rng.uniform(-0.35, 0.35)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = rng.uniform(0.6 * radius, size - 0.6 * radius, 2)
    polygons = [points @ stretch @ rotation.T + centre for points in outlines(name)]
    mask = np.zeros((size, size), np.uint8)
    fixed_point = [np.round(points * 16).astype(np.int32) for points in polygons]
    cv2.fillPoly(mask, fixed_point, 255, lineType=cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255, polygons, radius


def make_image(
    rng: np.random.Generator, size: int, max_objects: int, empty_ratio: float
) -> Tuple[np.ndarray, List[dict]]:
    """Draw one image.

    Args:
        rng (np.random.Generator): Source of randomness.
        size (int): Side of the image, in pixels.
        max_objects (int): Maximum number of objects per image.
        empty_ratio (float): Probability of an image without objects.

    Returns:
        tuple[np.ndarray, list[dict]]: BGR image in uint8 and its annotations, with boxes
        (x, y, w, h) of the shapes clipped to the image, hidden parts included.
    """
    image = texture(rng, size)
    objects: List[Tuple[int, np.ndarray, List[np.ndarray]]] = []
    count = 0 if rng.random() < empty_ratio else int(rng.integers(1, max_objects + 1))
    for _ in range(count):
        label = int(rng.integers(len(CLASSES)))
        mask, polygons, radius = place_shape(rng, CLASSES[label], size)
        # Objects overlap, but no single one hides more than 0.3 of another.
        hidden = max((float((mask * other).sum() / max(other.sum(), 1)) for _, other, _ in objects), default=0)
        if hidden > 0.3:
            continue
        alpha = mask[..., None]
        image = image * (1 - alpha) + surface(rng, CLASSES[label], size, radius) * alpha
        objects.append((label, mask, polygons))
    image += rng.normal(0, 4, image.shape).astype(np.float32)
    annotations = []
    for label, mask, polygons in objects:
        rows, columns = np.flatnonzero((mask > 0.5).any(1)), np.flatnonzero((mask > 0.5).any(0))
        x1, y1, x2, y2 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        outline = polygons[0].clip(0, size)
        annotations.append(
            dict(
                category_id=label + 1,
                bbox=[int(v) for v in (x1, y1, x2 - x1, y2 - y1)],
                area=round(float(mask.sum()), 2),
                segmentation=[[round(float(v), 2) for v in outline.ravel()]],
                iscrowd=0,
            )
        )
    return image.clip(0, 255).astype(np.uint8), annotations


def write_split(out: Path, split: str, split_id: int, count: int, args: argparse.Namespace) -> None:
    """Write the images and the annotation file of one split."""
    directory = out / split
    directory.mkdir(parents=True)
    images, annotations = [], []
    for index in range(count):
        # One generator per image: an image depends on the seed, its split and its index only.
        rng = np.random.default_rng((args.seed, split_id, index))
        image, objects = make_image(rng, args.size, args.max_objects, args.empty_ratio)
        name = f'{index:06d}.jpg'
        if not cv2.imwrite(str(directory / name), image, [cv2.IMWRITE_JPEG_QUALITY, 92]):
            raise OSError(f'cannot write {directory / name}')
        images.append(dict(id=index, file_name=name, width=args.size, height=args.size))
        for annotation in objects:
            annotations.append(dict(annotation, id=len(annotations) + 1, image_id=index))
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
    (out / 'annotations').mkdir(exist_ok=True)
    with open(out / 'annotations' / f'{split}.json', 'w') as f:
        json.dump(dict(images=images, annotations=annotations, categories=categories), f)
    print(f'{split}: {count} images, {len(annotations)} objects')


def main(argv: Optional[List[str]] = None) -> None:
    """Parse the command line and write the data set."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', type=Path, default=Path('data/shapes'), help='directory to write')
    parser.add_argument('--train', type=at_least(0), default=1400, help='training images')
    parser.add_argument('--val', type=at_least(0), default=300, help='held-out images')
    parser.add_argument('--size', type=at_least(32), default=320, help='side of an image, in pixels')
    parser.add_argument('--max-objects', type=at_least(1), default=4, help='maximum number of objects per image')
    parser.add_argument('--empty-ratio', type=float, default=0.05, help='share of images without objects')
    parser.add_argument('--seed', type=at_least(0), default=0, help='the same seed gives the same data set')
    parser.add_argument('--force', action='store_true', help='replace an existing directory')
    args = parser.parse_args(argv)
    if not 0 <= args.empty_ratio <= 1:
        parser.error(f'--empty-ratio {args.empty_ratio}: must be from 0 to 1')
    if args.out.exists() and not args.force:
        parser.error(f'{args.out} exists; give another --out, or --force to replace it')
    with atomic_directory(args.out) as directory:
        write_split(directory, 'train', 0, args.train, args)
        write_split(directory, 'val', 1, args.val, args)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
