"""Copies of annotations that lack something."""

import json
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps

from mmthunder.planning.annotation_files import complete_coco, complete_part, write_part
from mmthunder.planning.frames import ORIENTATION
from mmthunder.planning.layouts import Part


@pytest.fixture
def content(write: Callable[[str], Path]) -> dict:
    return json.loads((write('coco_one') / 'labels.json').read_text())


def test_what_is_complete_stays(content):
    before = json.dumps(content)
    assert complete_coco(content) == [] and json.dumps(content) == before


@pytest.mark.parametrize('area', [0, None])
def test_areas(area, content):
    """mmdet leaves out boxes whose area is 0; those that have none stay."""
    content['annotations'][0]['bbox'] = [1, 1, 0, 5]
    before = [entry['area'] for entry in content['annotations'][1:]]
    for entry in content['annotations']:
        entry['area'] = area
    assert complete_coco(content) == [f'{len(before) + (area is None)} annotations get the area of their box']
    assert [entry['area'] for entry in content['annotations']] == [0, *before]


@pytest.mark.parametrize('box', [['1', '2', '3', '4'], 7, None, [1, 2, 3]])
def test_wrong_boxes_are_left_to_the_check(box, content):
    entry = content['annotations'][0]
    del entry['area']
    entry['bbox'] = box
    assert complete_coco(content) == [] and entry['bbox'] == box and 'area' not in entry


def test_files_of_windows(content, tmp_path):
    """mmdet and pycocotools get a copy with / and without byte order mark."""
    content['images'][0]['file_name'] = 'a\\b.jpg'
    path = tmp_path / 'labels.json'
    path.write_text(json.dumps(content), encoding='utf-8-sig')
    before = path.read_bytes()
    part, done = complete_part(Part(path, tmp_path), tmp_path / 'train.json')
    assert [line.split(', in the copy')[0] for line in done] == [
        f'{path}: 1 file names get / for \\',
        f'{path}: the byte order mark is left out',
    ]
    written = json.loads(part.annotations.read_text(encoding='utf-8'))
    assert written['images'][0]['file_name'] == 'a/b.jpg' and path.read_bytes() == before


def test_part_of_a_list(tmp_path):
    path = tmp_path / 'list.txt'
    path.write_text('photo (1)\nphoto 1\nb\n')
    part = write_part(Part(path, tmp_path), 'voc', ['photo (1)', 'photo 1'], tmp_path / 'train')
    assert part.annotations.read_text() == 'photo (1)\nphoto 1\n'


@pytest.mark.parametrize('orientation', [3, 5, 6, 7, 8])
def test_photographs_that_exif_turns(orientation, write, photos, tmp_path):
    """Boxes that were drawn on the file as it is stored are turned with it; its size tells."""
    root, photo, exif = write('coco_own'), photos['train'][0], Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(photo.pixels).save(root / 'train2017/train00.jpg', exif=exif)
    part = Part(root / 'annotations/instances_train2017.json', root / 'train2017')
    part, done = complete_part(part, tmp_path / 'train.json')
    boxes = [entry['bbox'] for entry in json.loads(part.annotations.read_text())['annotations'][: len(photo.boxes)]]
    for (x, y, width, height), (x1, y1, x2, y2) in zip(boxes, photo.boxes):
        mask = np.zeros(photo.pixels.shape[:2], np.uint8)
        mask[y1:y2, x1:x2] = 255
        Image.fromarray(mask).save(tmp_path / 'mask.png', exif=exif if done else None)
        assert ImageOps.exif_transpose(Image.open(tmp_path / 'mask.png')).getbbox() == (x, y, x + width, y + height)
    assert bool(done) == (orientation > 4)


def test_width_and_height_exchanged(write, photos, tmp_path):
    """Boxes that fit the image stay, and it gets its own size."""
    root = write('coco_own')
    path = root / 'annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    content['images'][0].update(width=64, height=96)
    path.write_text(json.dumps(content))
    part, (done,) = complete_part(Part(path, root / 'train2017'), tmp_path / 'train.json')
    written = json.loads(part.annotations.read_text())
    assert '1 images have another size' in done and written['annotations'] == content['annotations']
    assert (written['images'][0]['width'], written['images'][0]['height']) == (96, 64)
