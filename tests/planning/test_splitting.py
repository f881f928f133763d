"""The validation split and near-copies."""

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image

from mmthunder.planning.annotated_images import AnnotatedImage
from mmthunder.planning.image_pass import inspect_image, inspect_images
from mmthunder.planning.near_copies import group_near_copies
from mmthunder.planning.splitting import choose_val


def image(name: str, labels: list, ignored: list = None) -> AnnotatedImage:
    boxes = np.tile(np.array([0, 0, 20, 20], np.float32), (len(labels), 1))
    flags = np.array(ignored if ignored is not None else [False] * len(labels), bool)
    return AnnotatedImage(name, name, 40, 40, boxes, np.array(labels, int), flags)


@pytest.fixture
def images() -> list:
    rng = np.random.default_rng(1)
    # The third class is rare.
    return [image(f'{i:03d}.jpg', rng.choice(3, 4, p=[0.6, 0.35, 0.05]).tolist()) for i in range(100)]


def shares(images: list, chosen: list) -> np.ndarray:
    total = np.bincount(np.concatenate([i.labels for i in images]), minlength=3)
    return np.bincount(np.concatenate([images[i].labels for i in chosen]), minlength=3) / total


def test_share_of_images_and_of_each_class(images):
    chosen = choose_val(images, np.arange(100), 3)
    assert len(chosen) == 20
    np.testing.assert_allclose(shares(images, chosen), 0.2, atol=0.05)


def test_same_split_whatever_the_order(images):
    chosen = {images[i].path for i in choose_val(images, np.arange(100), 3)}
    order = np.random.default_rng(0).permutation(100)
    shuffled = [images[i] for i in order]
    assert {shuffled[i].path for i in choose_val(shuffled, np.arange(100), 3)} == chosen


def test_near_copies_stay_together(images):
    groups = np.arange(100) // 4
    chosen = choose_val(images, groups, 3)
    assert 16 <= len(chosen) <= 24
    assert not set(groups[chosen]) & set(groups[np.setdiff1d(np.arange(100), chosen)])


def test_a_class_of_one_image_is_trained():
    images = [image(f'{i}.jpg', [0]) for i in range(9)] + [image('rare.jpg', [1])]
    assert 9 not in choose_val(images, np.arange(10), 2)
    assert len(choose_val(images, np.arange(10), 2)) == 2


def test_many_classes_of_one_image():
    """Most random draws would take the only image of a class."""
    images = [image(f'a{i:02d}.jpg', [0]) for i in range(30)] + [image(f'b{i:02d}.jpg', [i + 1]) for i in range(30)]
    chosen = choose_val(images, np.arange(60), 31)
    assert len(chosen) == 12 and max(chosen) < 30


def test_many_rare_classes():
    """Nearly every random draw would take all images of some class."""
    rare = [image(f'b{i:03d}.jpg', [i // 2 + 1]) for i in range(100)]
    images = [image(f'a{i:02d}.jpg', [0]) for i in range(50)] + rare
    chosen = choose_val(images, np.arange(150), 51)
    left = np.setdiff1d(np.arange(150), chosen)
    assert 20 <= len(chosen) <= 30 and {images[i].labels[0] for i in left} == set(range(51))


def test_two_images():
    assert len(choose_val([image('a', [0]), image('b', [0])], np.arange(2), 1)) == 1


def test_nothing_can_be_held_out():
    """All images are near-copies, or each has the only boxes of a class."""
    assert choose_val([image('a', [0]), image('b', [0])], np.zeros(2, int), 1) == []
    assert choose_val([image('a', [0]), image('b', [1])], np.arange(2), 2) == []


def photograph(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)


def test_near_copies_are_found(tmp_path):
    """An image, its copies (saved anew, half as large, brighter, cut by 2 px), and others."""
    original = photograph(0)
    small = cv2.resize(original, (160, 120), interpolation=cv2.INTER_AREA)
    brighter = cv2.convertScaleAbs(original, alpha=0.9, beta=20)
    files = [original, small, brighter, original[2:-2, 2:-2], *map(photograph, range(1, 30))]
    paths = [str(tmp_path / f'{number}.jpg') for number in range(len(files))]
    for path, pixels in zip(paths, files):
        cv2.imwrite(path, pixels, [cv2.IMWRITE_JPEG_QUALITY, 60])
    facts = inspect_images([image(path, []) for path in paths])
    groups = group_near_copies([fact.hash for fact in facts])
    assert len(set(groups[:4])) == 1 and len(set(groups)) == len(files) - 3
    # The hash is that of the library.
    grey = cv2.cvtColor(cv2.imread(paths[0]), cv2.COLOR_BGR2GRAY)
    shrunk = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA)
    assert (imagehash.phash(Image.fromarray(shrunk), 16).hash.ravel() == facts[0].hash).all()


def test_chains_are_one_group():
    """Each frame is near the next one alone."""
    hashes = np.zeros((10, 256), bool)
    for frame in range(10):
        hashes[frame, : 20 * frame] = True
    assert len(set(group_near_copies(list(hashes)))) == 1
    assert len(set(group_near_copies(list(hashes), max_distance=10))) == 10
    assert len(group_near_copies([])) == 0


def test_look(tmp_path):
    path = tmp_path / 'a.png'
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[10:40, 20:50] = 200
    cv2.imwrite(str(path), pixels)
    boxes = np.array([[20, 10, 50, 40], [0, 0, 80, 60], [70, 50, 72, 52]], np.float32)
    grey = AnnotatedImage(str(path), 0, 80, 60, boxes, np.array([2, 1, 0]), np.array([False, True, False]))
    fact = inspect_image(grey)
    assert fact.damage is None and fact.size == (80, 60) and fact.grey
    # The second box is ignored, the third too small.
    assert fact.patch_labels == (2,) and (fact.patches == 200).all()
    pixels[..., 0] = 90
    cv2.imwrite(str(path), pixels)
    assert not inspect_image(grey).grey


@pytest.mark.parametrize('content', [None, b'', b'<html></html>'])
def test_damage(content, tmp_path):
    path = tmp_path / 'a.jpg'
    if content is not None:
        path.write_bytes(content)
    assert inspect_image(image(str(path), [])).damage
