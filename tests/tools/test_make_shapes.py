import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config


def write(make_shapes, out: Path, *args: str) -> Path:
    make_shapes.main(['--out', str(out), '--train', '6', '--val', '3', '--size', '64', *args])
    return out


def contents(directory: Path) -> dict:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob('*') if path.is_file()}


def annotations(directory: Path, split: str = 'train') -> dict:
    return json.loads((directory / f'annotations/{split}.json').read_text())


def test_layout(make_shapes, tmp_path):
    files = contents(write(make_shapes, tmp_path / 'shapes'))
    images = {f'train/{i:06d}.jpg' for i in range(6)} | {f'val/{i:06d}.jpg' for i in range(3)}
    assert set(files) == images | {'annotations/train.json', 'annotations/val.json'}
    assert [path.name for path in tmp_path.iterdir()] == ['shapes']
    for split, count in (('train', 6), ('val', 3)):
        data = annotations(tmp_path / 'shapes', split)
        assert [image['file_name'] for image in data['images']] == [f'{i:06d}.jpg' for i in range(count)]
        for image in data['images']:
            assert cv2.imread(str(tmp_path / 'shapes' / split / image['file_name'])).shape == (64, 64, 3)
            assert (image['width'], image['height']) == (64, 64)
        assert len({a['id'] for a in data['annotations']}) == len(data['annotations']) > 0


def test_seed_decides_every_byte(make_shapes, tmp_path):
    first = contents(write(make_shapes, tmp_path / 'first', '--seed', '3'))
    assert contents(write(make_shapes, tmp_path / 'second', '--seed', '3')) == first
    other = contents(write(make_shapes, tmp_path / 'third', '--seed', '4'))
    assert set(other) == set(first)
    assert not any(other[name] == first[name] for name in first)
    # The splits share no image.
    assert first['train/000000.jpg'] != first['val/000000.jpg']


def test_an_image_does_not_depend_on_how_many_there_are(make_shapes, tmp_path):
    few = contents(write(make_shapes, tmp_path / 'few', '--train', '2'))
    more = contents(write(make_shapes, tmp_path / 'more', '--train', '4'))
    assert few['train/000001.jpg'] == more['train/000001.jpg']


def test_boxes_are_the_pixels_extent(make_shapes, monkeypatch):
    """White shapes on black: the box is where the image is white."""
    for i in range(60):
        monkeypatch.setattr(make_shapes, 'texture', lambda rng, size: np.zeros((size, size, 3), np.float32))
        monkeypatch.setattr(make_shapes, 'surface', lambda rng, name, size, radius: np.full((size, size, 3), 255.0))
        image, objects = make_shapes.make_image(np.random.default_rng(i), 80, 1, 0.0)
        ((x, y, w, h),) = (a['bbox'] for a in objects)
        white = image[..., 0] > 127.5
        rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
        # A border pixel half covered may fall on either side, with the image's noise.
        np.testing.assert_allclose(
            [x, y, x + w, y + h], [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], rtol=0, atol=1
        )
        assert white.sum() == pytest.approx(objects[0]['area'], rel=0.1, abs=8)


def test_annotations_are_valid(make_shapes, tmp_path):
    data = annotations(write(make_shapes, tmp_path / 'shapes', '--train', '60', '--max-objects', '8'))
    assert [category['name'] for category in data['categories']] == list(make_shapes.CLASSES)
    assert {a['category_id'] for a in data['annotations']} == set(range(1, 7))
    for a in data['annotations']:
        x, y, w, h = a['bbox']
        assert x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= 64 and y + h <= 64
        assert 0 < a['area'] <= w * h + 1
        assert a['iscrowd'] == 0
        points = np.array(a['segmentation'][0]).reshape(-1, 2)
        assert points.min() >= 0 and points.max() <= 64
    counts = np.bincount([a['image_id'] for a in data['annotations']], minlength=60)
    assert 0 < (counts == 0).sum() < 20
    assert counts.max() > 3


@pytest.mark.parametrize(('empty_ratio', 'empty'), [('0', 0), ('1', 6)])
def test_empty_ratio(make_shapes, tmp_path, empty_ratio, empty):
    data = annotations(write(make_shapes, tmp_path / 'shapes', '--empty-ratio', empty_ratio))
    assert 6 - len({a['image_id'] for a in data['annotations']}) == empty


def test_does_not_overwrite(make_shapes, tmp_path, capsys):
    out = write(make_shapes, tmp_path / 'shapes')
    before = contents(out)
    with pytest.raises(SystemExit) as error:
        write(make_shapes, out, '--seed', '1')
    assert error.value.code == 2
    assert f'{out} exists; give another --out, or --force' in capsys.readouterr().err
    assert contents(out) == before

    (out / 'old.txt').write_text('')
    after = contents(write(make_shapes, out, '--seed', '1', '--force'))
    assert set(after) == set(before)
    assert after['train/000000.jpg'] != before['train/000000.jpg']


@pytest.mark.parametrize(
    ('option', 'value', 'message'),
    [
        ('--max-objects', '0', '--max-objects: 0: must be at least 1'),
        ('--size', '31', '--size: 31: must be at least 32'),
        ('--train', '-1', '--train: -1: must be at least 0'),
        ('--seed', '-1', '--seed: -1: must be at least 0'),
        ('--empty-ratio', '1.5', '--empty-ratio 1.5: must be from 0 to 1'),
    ],
)
def test_invalid_arguments(make_shapes, tmp_path, capsys, option, value, message):
    with pytest.raises(SystemExit):
        write(make_shapes, tmp_path / 'shapes', option, value)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_interruption_leaves_what_was_there(make_shapes, tmp_path, monkeypatch):
    out = write(make_shapes, tmp_path / 'shapes')
    before = contents(out)
    write_split = make_shapes.write_split

    def interrupted(out, split, *args):
        if split == 'val':
            raise KeyboardInterrupt
        write_split(out, split, *args)

    monkeypatch.setattr(make_shapes, 'write_split', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(make_shapes, out, '--force', '--seed', '1')
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ['shapes']


def test_config_reads_it(repo, shapes):
    """Class names, order and paths fit configs/_base_/datasets/shapes.py; empty images stay."""
    cfg = Config.fromfile(repo / 'configs/thundernet/thundernet_snet49_1xb8-5e_shapes.py')
    for loader, count in ((cfg.train_dataloader, 8), (cfg.val_dataloader, 4)):
        args = dict(loader.dataset, data_root=str(shapes))
        assert args.pop('type') == 'CocoDataset'
        dataset = CocoDataset(**args)
        assert len(dataset) == count
        assert dataset.cat_ids == [1, 2, 3, 4, 5, 6]
        data = json.loads(Path(dataset.ann_file).read_text())
        assert sum(len(dataset.get_data_info(i)['instances']) for i in range(count)) == len(data['annotations'])
        assert dataset[0]['inputs'].shape[0] == 3
