"""Every layout gives the same images, boxes and classes."""

import json
from pathlib import Path
from typing import Callable, List

import numpy as np
import pytest
from layout_data import CLASSES, LAYOUTS, WITHOUT_VAL

from mmthunder.planning.annotated_images import AnnotatedImage, dataset_cfg, read_annotated_images, read_classes
from mmthunder.planning.importing import import_coco
from mmthunder.planning.layouts import Layout, Part, Parts, find_layout
from mmthunder.planning.planning_error import PlanningError


def read(layout: Layout, part: Part, directory: Path) -> List[AnnotatedImage]:
    """Read a split as the plan does: what mmdet does not read is imported first."""
    if layout.format in ('xml', 'yolo'):
        contents, damaged = import_coco(layout)
        assert not damaged
        path = directory / 'imported.json'
        path.write_text(json.dumps(contents['train' if part == layout.train else 'val']))
        layout, part = Layout('coco', layout.root, Part(path, layout.root)), Part(path, layout.root)
    images, _ = read_annotated_images(dataset_cfg(layout, part, CLASSES), training=True)
    return images


@pytest.mark.parametrize('name', LAYOUTS)
def test_same_data_in_every_layout(name, write, photos, tmp_path):
    layout = find_layout(write(name))
    splits = dict(train=layout.train, val=layout.val)
    expected = dict(photos)
    if name in WITHOUT_VAL:
        assert layout.val is None
        splits, expected = dict(train=layout.train), dict(train=photos['train'] + photos['val'])
    for split, part in splits.items():
        images = {Path(image.path).stem: image for image in read(layout, part, tmp_path)}
        assert set(images) == {photo.name for photo in expected[split]}
        for photo in expected[split]:
            image = images[photo.name]
            assert Path(image.path).is_file()
            assert (image.width, image.height) == (photo.pixels.shape[1], photo.pixels.shape[0])
            assert image.labels.tolist() == photo.labels
            # mmdet takes VOC's largest pixel for the box's end, one pixel less.
            np.testing.assert_allclose(image.boxes, np.reshape(photo.boxes, (-1, 4)), atol=1 if name == 'voc' else 0.02)


@pytest.mark.parametrize('name', ['coco_own', 'coco_one', 'voc'])
def test_classes(name, write):
    assert read_classes(find_layout(write(name))) == CLASSES


def test_unused_parts_are_named(write):
    root = write('coco_own')
    (root / 'annotations/instances_val2017.json').rename(root / 'annotations/instances_test2017.json')
    layout = find_layout(root)
    assert layout.val is None and layout.unused == ('annotations/instances_test2017.json',)


def test_voc_devkit(write, tmp_path):
    root = write('voc')
    devkit = tmp_path / 'VOCdevkit'
    devkit.mkdir()
    root.rename(devkit / 'VOC2007')
    assert find_layout(devkit).train.annotations == devkit / 'VOC2007/ImageSets/Main/train.txt'


def test_yolo_list_of_images(write, tmp_path):
    """data.yaml may name a text file of image paths."""
    root = write('yolo')
    paths = sorted((root / 'images/train').iterdir())[:3]
    (root / 'three.txt').write_text('\n'.join(str(path) for path in paths) + '\n')
    (root / 'data.yaml').write_text('train: three.txt\nval: images/val\nnames: [cat, dog]\n')
    images = read(find_layout(root), find_layout(root).train, tmp_path)
    assert [image.path for image in images] == [str(path) for path in paths]
    assert all(len(image.boxes) == 2 for image in images)


def test_yolo_polygons_are_boxes(write, tmp_path):
    root = write('yolo')
    (root / 'labels/train/train00.txt').write_text('1 0.25 0.25 0.5 0.5 0.25 0.75\n')
    image = read(find_layout(root), find_layout(root).train, tmp_path)[0]
    np.testing.assert_allclose(image.boxes, [[24, 16, 48, 48]], atol=0.02)
    assert image.labels.tolist() == [1]


def test_named_parts(write, tmp_path):
    """Parts that no name tells apart are named by the user."""
    root = write('coco_own')
    for split, name in (('train', 'a'), ('val', 'b')):
        (root / f'annotations/instances_{split}2017.json').rename(root / f'{name}.json')
        (root / f'annotations/person_keypoints_{split}2017.json').unlink()
        (root / f'{split}2017').rename(root / f'{name}_images')
    with pytest.raises(PlanningError, match='--train-annotations'):
        find_layout(root)
    parts = Parts(root / 'a.json', root / 'a_images', root / 'b.json', root / 'b_images')
    layout = find_layout(root, parts=parts)
    assert len(read(layout, layout.train, tmp_path)) == 10 and len(read(layout, layout.val, tmp_path)) == 4


def test_named_yolo_parts(write, tmp_path):
    root = write('yolo')
    (root / 'labels').rename(root / 'texts')
    with pytest.raises(PlanningError, match='--train-annotations'):
        find_layout(root)
    parts = Parts(root / 'texts/train', root / 'images/train')
    layout = find_layout(root, 'yolo', parts)
    assert sum(len(image.boxes) for image in read(layout, layout.train, tmp_path)) == 18 and layout.val is None


def test_several_formats(write):
    root = write('coco_own')
    (root / 'classes.txt').write_text('cat\ndog\n')
    (root / 'train2017/train00.txt').write_text('0 0.5 0.5 0.5 0.5\n')
    with pytest.raises(PlanningError, match='--format'):
        find_layout(root)
    assert find_layout(root, 'coco').format == 'coco' and find_layout(root, 'yolo').format == 'yolo'


def breaks(name: str, change: Callable[[Path], None], message: str) -> tuple:
    return pytest.param(name, change, message, id=message)


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        breaks('coco_one', lambda root: (root / 'labels.json').unlink(), 'layout is unknown'),
        breaks('coco_one', lambda root: (root / 'pictures').rename(root.parent / 'elsewhere'), '--train-images'),
        breaks('voc', lambda root: (root / 'JPEGImages/train03.jpg').unlink(), 'train03'),
        breaks('yolo', lambda root: (root / 'data.yaml').write_text('train: images/none\nnames: [a]'), 'images/none'),
        breaks('yolo', lambda root: (root / 'data.yaml').write_text('train: images\nnames: 3'), 'names'),
        breaks('yolo', lambda root: (root / 'data.yaml').write_text('names: [a\n'), 'data.yaml'),
    ],
)
def test_unusable_layout(name, change, message, write):
    root = write(name)
    change(root)
    with pytest.raises(PlanningError, match=message):
        find_layout(root)


def test_path_that_is_not_there(tmp_path):
    with pytest.raises(PlanningError, match='nowhere'):
        find_layout(tmp_path / 'nowhere')


@pytest.mark.parametrize(
    ('text', 'message'), [('5 0.5 0.5 0.1 0.1', 'class 5'), ('0 0.5 0.5', 'tokens'), ('0 a b c d', 'could not convert')]
)
def test_wrong_yolo_label(text, message, write):
    root = write('yolo')
    (root / 'labels/train/train02.txt').write_text(text)
    with pytest.raises(PlanningError, match=f'train02.txt.*{message}'):
        import_coco(find_layout(root))


def test_wrong_xml(write):
    root = write('voc_flat')
    (root / 'train02.xml').write_text('<annotation><object>')
    with pytest.raises(PlanningError, match='train02.xml'):
        import_coco(find_layout(root))


def test_damaged_image_is_left_out(write):
    root = write('yolo')
    (root / 'images/train/train02.png').write_bytes(b'<html>')
    contents, damaged = import_coco(find_layout(root))
    assert len(contents['train']['images']) == 9
    (line,) = damaged
    assert 'train02.png' in line
