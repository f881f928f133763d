"""Every layout gives the same images, boxes and classes."""

import json
import shutil
from pathlib import Path
from typing import Callable, List

import numpy as np
import pytest
from layout_data import CLASSES, LAYOUTS, WITHOUT_VAL, save, xml

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
    """Also where they hide that the labels are of YOLO."""
    root = write('yolo')
    (root / 'labels').rename(root / 'texts')
    shutil.copytree(root / 'texts', root / 'other')
    with pytest.raises(PlanningError, match='--train-annotations'):
        find_layout(root)
    layout = find_layout(root, parts=Parts(root / 'texts/train', root / 'images/train'))
    assert sum(len(image.boxes) for image in read(layout, layout.train, tmp_path)) == 18 and layout.val is None


def test_several_formats(write):
    root = write('coco_own')
    (root / 'classes.txt').write_text('cat\ndog\n')
    (root / 'train2017/train00.txt').write_text('0 0.5 0.5 0.5 0.5\n')
    with pytest.raises(PlanningError, match='--format'):
        find_layout(root)
    assert find_layout(root, 'coco').format == 'coco' and find_layout(root, 'yolo').format == 'yolo'


@pytest.mark.parametrize(
    ('name', 'other'), [('coco_one', 'classes.txt'), ('voc', 'classes.txt'), ('coco_one', 'a.yml')]
)
def test_files_of_another_purpose(name, other, write):
    """What looks like another format but has no annotations hides nothing."""
    root = write(name)
    (root / other).write_text('names: !own x\n')
    assert find_layout(root).format == name[:4].rstrip('_')


@pytest.mark.parametrize('name', ['coco_one', 'voc_flat', 'yolo_flat'])
def test_hidden_copies(name, write):
    root = write(name)
    before = find_layout(root)
    for hidden in ('.ipynb_checkpoints', '__MACOSX'):
        shutil.copytree(root, root / hidden, ignore=shutil.ignore_patterns('.*'))
    assert find_layout(root) == before


def test_byte_order_marks(write):
    """Editors of Windows write them."""
    for name, file in (('coco_one', 'labels.json'), ('yolo_flat', 'classes.txt'), ('yolo', 'data.yaml')):
        root = write(name)
        expected = find_layout(root)
        (root / file).write_bytes(b'\xef\xbb\xbf' + (root / file).read_bytes())
        assert find_layout(root) == expected
        shutil.rmtree(root)


def test_large_coco_file(write):
    """Its keys may be anywhere in it."""
    root = write('coco_one')
    content = json.loads((root / 'labels.json').read_text())
    content = dict(info='x' * 2**21, **content, licenses='x' * 2**21)
    (root / 'labels.json').write_text(json.dumps(content))
    assert find_layout(root).format == 'coco'


def test_windows_paths(write, tmp_path):
    root = write('coco_one')
    content = json.loads((root / 'labels.json').read_text())
    for image in content['images']:
        image['file_name'] = f'pictures\\{image["file_name"]}'
    (root / 'labels.json').write_text(json.dumps(content))
    assert find_layout(root).train.images == root
    shutil.rmtree(root)
    root = write('yolo_export')
    expected = find_layout(root)
    (root / 'data.yaml').write_text((root / 'data.yaml').read_text().replace('/', '\\'))
    assert find_layout(root) == expected


def test_neighbouring_yolo_data(write):
    """'../train/images' is beside data.yaml, although the directory above has one too."""
    root = write('yolo_export')
    shutil.copytree(root / 'train', root.parent / 'train')
    assert all(root in image.resolve().parents for image, _ in find_layout(root).train.pairs)


def test_list_of_images_of_cvat(write):
    root = write('yolo')
    names = sorted(path.name for path in (root / 'images/train').iterdir())
    (root / 'train.txt').write_text(''.join(f'data/images/train/{name}\n' for name in names))
    expected = find_layout(root).train.pairs
    (root / 'data.yaml').write_text('train: train.txt\nnames: [cat, dog]\n')
    assert find_layout(root).train.pairs == expected


@pytest.mark.parametrize('name', ['yolo_export', 'coco_export'])
def test_empty_validation_split(name, write):
    """It is none, and that is said."""
    root = write(name)
    shutil.rmtree(root / 'valid')
    if name == 'coco_export':
        (root / 'valid').mkdir()
        (root / 'valid/_annotations.coco.json').write_text('{"images": [], "annotations": [], "categories": []}')
    layout = find_layout(root)
    assert layout.val is None
    (unused,) = layout.unused
    assert 'valid' in unused and 'no images' in unused


def test_directory_of_labels_of_any_name(write):
    root = write('yolo')
    expected = [label and label.name for _, label in find_layout(root).train.pairs]
    (root / 'images').rename(root / 'img')
    (root / 'data.yaml').write_text('train: img/train\nval: img/val\nnames: [cat, dog]\n')
    layout = find_layout(root)
    assert [label and label.name for _, label in layout.train.pairs] == expected
    assert layout.val.pairs[0][1] == root / 'labels/val/val00.txt'


def test_class_list_among_the_labels(write):
    root = write('yolo_flat')
    (root / 'labels/train').mkdir(parents=True)
    (root / 'classes.txt').rename(root / 'labels/train/classes.txt')
    assert find_layout(root).classes == CLASSES


@pytest.mark.parametrize(
    'directories', [('images/cam{}', 'xml/cam{}'), ('cam{}/images', 'cam{}/xml'), ('cam{}', 'cam{}')]
)
def test_equal_names_in_directories(directories, photos, tmp_path):
    """Each image has the XML file of its own directory; the last has none."""
    expected = []
    for number in range(4):
        image, annotation = (tmp_path / directory.format(number) for directory in directories)
        photo = photos['train'][number]._replace(name='0000')
        save(photo, image)
        if number < 3:
            xml(photo, '0000.jpg', annotation / '0000.xml')
        expected.append((image / '0000.jpg', annotation / '0000.xml' if number < 3 else None))
    assert find_layout(tmp_path).train.pairs == tuple(expected)


def test_several_xml_files_of_an_image(write):
    root = write('voc_flat')
    for name in ('new', 'old'):
        (root / name).mkdir()
        shutil.copy(root / 'train00.xml', root / name)
    (root / 'train00.xml').unlink()
    with pytest.raises(PlanningError, match='new/train00.xml or .*old/train00.xml'):
        find_layout(root)


def test_xml_files_of_other_names(write):
    """They say which image they are of; or else it is an error, since the image would be background."""
    root = write('voc_flat')
    expected = [image for image, path in find_layout(root).train.pairs if path]
    (root / 'train00.xml').rename(root / 'TRAIN00_ann.xml')
    assert [image for image, path in find_layout(root).train.pairs if path] == expected
    (root / 'TRAIN00_ann.xml').write_text('<annotation/>')
    with pytest.raises(PlanningError, match='1 XML files.*TRAIN00_ann.xml, and 1 images.*train00.jpg'):
        find_layout(root)
    (root / 'train00.jpg').unlink()
    (unused,) = find_layout(root).unused
    assert 'TRAIN00_ann.xml' in unused


def test_xml_of_cvat(write):
    root = write('coco_one')
    (root / 'labels.json').unlink()
    (root / 'annotations.xml').write_text('<annotations/>')
    with pytest.raises(PlanningError, match='annotations.xml: CVAT.*COCO 1.0'):
        find_layout(root)


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ('file', 'change'),
    [
        ('ImageSets/Main/train.txt', lambda text: text + '\n'),
        ('ImageSets/Main/train.txt', lambda text: text.replace('\n', ' \n')),
        ('ImageSets/Main/train.txt', lambda text: text.replace('\n', '  1\n')),
        ('ImageSets/Main/train.txt', lambda text: '\ufeff' + text),
        (
            'Annotations/train01.xml',
            lambda text: text.replace('<width>96', '<width>0').replace('<height>64', '<height>0'),
        ),
        (
            'Annotations/train01.xml',
            lambda text: text.replace('min>', '_>').replace('max>', 'min>').replace('_>', 'max>'),
        ),
    ],
    ids=['blank line', 'blank', 'column', 'byte order mark', 'no size', 'corners'],
)
def test_voc_that_mmdet_does_not_read(file, change, write, photos, tmp_path):
    """It is imported."""
    root = write('voc')
    rewrite(root / file, change)
    layout = find_layout(root)
    assert layout.format == 'xml'
    for image, photo in zip(read(layout, layout.train, tmp_path), photos['train']):
        assert Path(image.path).stem == photo.name
        np.testing.assert_allclose(image.boxes, np.reshape(photo.boxes, (-1, 4)), atol=1.02)


def test_voc_names_with_blanks(write):
    """mmdet reads them, also those that look like a column."""
    root = write('voc')
    for path in (*root.rglob('train0*.jpg'), *root.rglob('train0*.xml')):
        path.rename(path.with_name(path.name.replace('train0', 'photo (a) ')))
    rewrite(root / 'ImageSets/Main/train.txt', lambda text: text.replace('train0', 'photo (a) '))
    layout = find_layout(root)
    assert layout.format == 'voc' and read_classes(layout) == CLASSES


def test_listed_images_of_one_name(write):
    root = write('voc_png')
    (root / 'JPEGImages/old').mkdir()
    shutil.copy(root / 'JPEGImages/train03.png', root / 'JPEGImages/old')
    with pytest.raises(PlanningError, match="train.txt: 'train03' may be .*JPEGImages/"):
        find_layout(root)


def breaks(name: str, change: Callable[[Path], None], message: str) -> tuple:
    return pytest.param(name, change, message, id=message)


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        breaks('coco_one', lambda root: (root / 'labels.json').unlink(), 'layout is unknown'),
        breaks('coco_one', lambda root: (root / 'pictures').rename(root.parent / 'elsewhere'), '--train-images'),
        breaks('voc', lambda root: (root / 'JPEGImages/train03.jpg').unlink(), 'train03'),
        breaks('voc', lambda root: (root / 'Annotations/val01.xml').unlink(), 'val.txt: XML files of 1 of 4.*val01'),
        breaks('yolo_flat', lambda root: (root / 'classes.txt').write_bytes(b'caf\xe9'), 'classes.txt: not readable'),
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
    ('text', 'message'),
    [
        ('5 0.5 0.5 0.1 0.1', 'class 5'),
        ('0 0.5 0.5', 'tokens'),
        ('0 a b c d', 'could not convert'),
        ('0 0.5 0.5 0.1 0.1\n1 48 32 20 20', "'1 48 32 20 20'.*from 0 to 1"),
        ('1 10 10 30 10 30 20', "'1 10 10 30 10 30 20'.*from 0 to 1"),
    ],
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
