import json
import shutil
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

CLASSES = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')


@pytest.fixture(scope='module')
def make_crops(load_tool) -> ModuleType:
    return load_tool('misc/make_crops.py')


def crop(make_crops, repo: Path, shapes: Path, out: Path, *args: str) -> Path:
    """Crop the small data set into a directory and return the directory."""
    options = [f'{split}_dataloader.dataset.data_root={shapes}/' for split in ('train', 'val')]
    config = repo / 'configs/thundernet/thundernet_snet49_1xb8-5e_shapes.py'
    make_crops.main([str(config), '--out', str(out), *args, '--cfg-options', *options])
    return out


@pytest.fixture(scope='module')
def crops(make_crops, repo, shapes, tmp_path_factory) -> Path:
    """What the defaults write; tests must not change it."""
    init_default_scope('mmdet')
    return crop(make_crops, repo, shapes, tmp_path_factory.mktemp('crops') / 'crops')


def contents(directory: Path) -> dict:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob('*') if path.is_file()}


def objects(shapes: Path, split: str, min_side: float = 8) -> list:
    data = json.loads((shapes / f'annotations/{split}.json').read_text())
    return [a for a in data['annotations'] if min(a['bbox'][2:]) >= min_side]


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path)).astype(float)


def test_one_crop_an_object(crops, shapes):
    """In the directory of its class; the splits stay apart."""
    for split in ('train', 'val'):
        assert {path.name for path in (crops / split).iterdir()} == {*CLASSES, 'background'}
        found = Counter(path.parent.name for path in (crops / split).glob('*/*.jpg'))
        assert found.pop('background') > 0
        assert found == Counter(CLASSES[a['category_id'] - 1] for a in objects(shapes, split)) != Counter()


def test_pixels(crops, shapes):
    """A crop is the square of 1.2 times the longer side around its box, inside the image."""
    for annotation in objects(shapes, 'val'):
        x, y, w, h = annotation['bbox']
        side = round(1.2 * max(w, h))
        x1, y1 = (round(min(max(start + (size - side) / 2, 0), 96 - side)) for start, size in ((x, w), (y, h)))
        expected = read(shapes / f'val/{annotation["image_id"]:06d}.jpg')[y1 : y1 + side, x1 : x1 + side]
        directory = crops / 'val' / CLASSES[annotation['category_id'] - 1]
        pictures = [read(path) for path in directory.glob(f'{annotation["image_id"]:06d}_*.jpg')]
        errors = [np.abs(picture - expected).mean() for picture in pictures if picture.shape == expected.shape]
        assert errors and min(errors) < 8  # JPEG's, of textures with noise


def test_options(make_crops, repo, shapes, crops, tmp_path):
    few = contents(
        crop(make_crops, repo, shapes, tmp_path / 'few', '--background', '0', '--min-side', '30', '--margin', '0.6')
    )
    assert len(few) == sum(len(objects(shapes, split, 30)) for split in ('train', 'val'))
    assert 0 < len(few) < len(contents(crops)) and not [name for name in few if 'background' in name]
    for name in few:
        assert read(tmp_path / 'few' / name).shape[0] == pytest.approx(read(crops / name).shape[0] / 2, abs=1)


def test_seed(make_crops, repo, shapes, crops, tmp_path):
    """Draws the places without objects."""
    first, other = contents(crops), contents(crop(make_crops, repo, shapes, tmp_path / 'other', '--seed', '1'))
    names = {name for name in {*first, *other} if first.get(name) != other.get(name)}
    assert names and all('background' in name for name in names)


def test_does_not_overwrite(make_crops, repo, shapes, crops, tmp_path, capsys):
    out = tmp_path / 'crops'
    out.mkdir()
    (out / 'old.txt').write_text('')
    with pytest.raises(SystemExit) as error:
        crop(make_crops, repo, shapes, out)
    assert error.value.code == 2
    assert f'{out} exists; give another --out, or --force' in capsys.readouterr().err
    # With the same seed every byte is the same.
    assert contents(crop(make_crops, repo, shapes, out, '--force')) == contents(crops)
    assert [path.name for path in tmp_path.iterdir()] == ['crops']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--margin', '0'], '--margin 0.0: must be above 0'),
        (['--min-side', '-1'], '--min-side -1.0: must be at least 0'),
        (['--background', '-1'], '--background: -1: must be at least 0'),
        (['--seed', '-1'], '--seed: -1: must be at least 0'),
        (['--cfg-options', 'val_dataloader=None'], 'give a config with train_dataloader and val_dataloader'),
    ],
)
def test_invalid_arguments(make_crops, repo, tmp_path, capsys, options, message):
    config = str(repo / 'configs/thundernet/thundernet_snet49_1xb8-5e_shapes.py')
    with pytest.raises(SystemExit):
        make_crops.main([config, '--out', str(tmp_path / 'crops'), *options])
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('text', 'message'), [(None, 'other.py'), ('model = dict()', 'train_dataloader')])
def test_invalid_config(make_crops, tmp_path, capsys, text, message):
    if text:
        (tmp_path / 'other.py').write_text(text)
    with pytest.raises(SystemExit):
        make_crops.main([str(tmp_path / 'other.py'), '--out', str(tmp_path / 'crops')])
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error and 'give a config with train_dataloader and val_dataloader' in error


def test_unreadable_image_leaves_nothing(make_crops, repo, shapes, tmp_path, capsys):
    root = tmp_path / 'shapes'
    for path in shapes.rglob('*.*'):
        (root / path.relative_to(shapes)).parent.mkdir(parents=True, exist_ok=True)
        (root / path.relative_to(shapes)).write_bytes(b'' if path.name == '000003.jpg' else path.read_bytes())
    with pytest.raises(SystemExit):
        make_crops.main(
            [
                str(repo / 'configs/thundernet/thundernet_snet49_1xb8-5e_shapes.py'),
                '--out',
                str(tmp_path / 'crops'),
                '--cfg-options',
                f'train_dataloader.dataset.data_root={root}/',
            ]
        )
    assert 'train/000003.jpg: not a readable image' in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ['shapes']


def test_orientation(make_crops, repo, shapes, tmp_path):
    """Images are read as the config says."""
    root = tmp_path / 'shapes'
    shutil.copytree(shapes, root)
    exif = Image.Exif()
    exif[0x0112] = 3  # to be turned by 180 degrees
    for path in root.glob('*/*.jpg'):
        Image.open(path).save(path, quality=100, exif=exif.tobytes())
    options = [
        f'{split}_dataloader.dataset.pipeline.0.color_type=color_ignore_orientation' for split in ('train', 'val')
    ]
    turned, ignored = crop(make_crops, repo, root, tmp_path / 'turned'), tmp_path / 'ignored'
    roots = [f'{split}_dataloader.dataset.data_root={root}/' for split in ('train', 'val')]
    config = repo / 'configs/thundernet/thundernet_snet49_1xb8-5e_shapes.py'
    make_crops.main([str(config), '--out', str(ignored), '--cfg-options', *roots, *options])
    plain = crop(make_crops, repo, shapes, tmp_path / 'plain')
    errors = {directory: [] for directory in (turned, ignored)}
    for path in plain.glob('*/*/*.jpg'):
        for directory, values in errors.items():
            values.append(np.abs(read(directory / path.relative_to(plain)) - read(path)).mean())
    assert np.mean(errors[ignored]) < 8 < np.mean(errors[turned])


def test_voc_layout(make_crops, repo, tmp_path):
    """Through the wrapper of BCCD's config."""
    root = tmp_path / 'BCCD'
    for directory in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (root / directory).mkdir(parents=True)
    for split, name in (('train', 'WBC'), ('val', 'RBC')):
        image = ET.Element('annotation')
        ET.SubElement(image, 'filename').text = f'{split}.jpg'
        size = ET.SubElement(image, 'size')
        for key, value in (('width', 60), ('height', 40), ('depth', 3)):
            ET.SubElement(size, key).text = str(value)
        thing = ET.SubElement(image, 'object')
        ET.SubElement(thing, 'name').text = name
        box = ET.SubElement(thing, 'bndbox')
        for key, value in (('xmin', 11), ('ymin', 6), ('xmax', 31), ('ymax', 16)):
            ET.SubElement(box, key).text = str(value)
        ET.ElementTree(image).write(root / f'Annotations/{split}.xml')
        (root / f'ImageSets/Main/{split}.txt').write_text(f'{split}\n')
        cv2.imwrite(str(root / f'JPEGImages/{split}.jpg'), np.full((40, 60, 3), 128, np.uint8))
    out = tmp_path / 'crops'
    make_crops.main(
        [
            str(repo / 'configs/thundernet/thundernet_snet49_1xb8-80e_bccd.py'),
            '--out',
            str(out),
            '--margin',
            '1',
            '--background',
            '1',
            '--cfg-options',
            f'train_dataloader.dataset.dataset.data_root={root}/',
            f'val_dataloader.dataset.data_root={root}/',
        ]
    )
    names = (
        'train/WBC/000000_000.jpg',
        'train/background/000000_001.jpg',
        'val/RBC/000000_000.jpg',
        'val/background/000000_001.jpg',
    )
    assert {name: read(out / name).shape for name in contents(out)} == {name: (20, 20, 3) for name in names}


@pytest.mark.parametrize(
    ('box', 'margin', 'expected'),
    [
        ((20, 10, 40, 30), 1.0, (20, 10, 40, 30)),
        ((20, 10, 40, 20), 1.0, (20, 5, 40, 25)),  # the longer side
        ((20, 10, 40, 30), 1.5, (15, 5, 45, 35)),
        ((0, 0, 10, 10), 2.0, (0, 0, 20, 20)),  # moved inside
        ((90, 40, 100, 50), 2.0, (80, 30, 100, 50)),
        ((0, 0, 90, 10), 1.0, (0, 0, 90, 50)),  # higher than the image
        ((30, 30, 30, 30), 1.0, (30, 30, 31, 31)),
    ],
)
def test_window(make_crops, box, margin, expected):
    assert make_crops.window(np.array(box, float), margin, 100, 50) == expected


def test_background_boxes(make_crops):
    boxes = np.array([(0.0, 0.0, 40.0, 50.0), (60.0, 10.0, 100.0, 40.0)])
    places = make_crops.background_boxes(np.random.default_rng(0), boxes, 5, 200, 100)
    assert places.shape == (5, 4)
    assert (places >= 0).all() and (places[:, 2] <= 200).all() and (places[:, 3] <= 100).all()
    sides = places[:, 2:] - places[:, :2]
    assert np.allclose(sides[:, 0], sides[:, 1]) and np.isin(sides.round(6), (40, 50)).all()
    for x1, y1, x2, y2 in places:
        for left, top, right, bottom in boxes:
            overlap = max(min(x2, right) - max(x1, left), 0) * max(min(y2, bottom) - max(y1, top), 0)
            assert overlap <= 0.05 * min((x2 - x1) * (y2 - y1), (right - left) * (bottom - top)) + 1e-9


def test_no_empty_place(make_crops):
    boxes = np.array([(0.0, 0.0, 100.0, 50.0)])
    assert make_crops.background_boxes(np.random.default_rng(0), boxes, 3, 100, 50).shape == (0, 4)
