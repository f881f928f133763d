"""Damaged annotations and images: each gives what is in it, or one line that names the file."""

import copy
import json
import random
import struct
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, List, Optional, Tuple, Type

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.datasets import CocoDataset, XMLDataset
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import init_default_scope

from mmthunder.datasets import check_dataset
from mmthunder.datasets.coco_annotations import find_unused
from mmthunder.datasets.image_files import CUT_OFF, check_image, check_images
from mmthunder.datasets.transforms import LoadTruncatedImageFromFile

CLASSES = ('cat', 'dog')
HEIGHT, WIDTH = 48, 64
LOAD = dict(type='LoadImageFromFile')
PIPELINES = ('shapes', 'bccd', 'coco_320', 'voc0712_600')


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Three photographs; tests write the annotations."""
    root = tmp_path_factory.mktemp('fuzzed')
    for part in ('JPEGImages', 'Annotations'):
        (root / part).mkdir()
    for name in 'abc':
        image = np.random.default_rng(ord(name)).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f'JPEGImages/{name}.jpg'), image)
    (root / 'Annotations/b.xml').write_bytes(ET.tostring(make_voc()))
    # The second has all classes, whatever is done to the first.
    (root / 'list.txt').write_text('a\nb\n')
    return root


@pytest.fixture(scope='module')
def pipelines(repo) -> List[Compose]:
    """Those that the configs train with, scaled down: their steps are what is tested."""
    init_default_scope('mmdet')
    built = []
    for name in PIPELINES:
        pipeline = Config.fromfile(repo / f'configs/_base_/datasets/{name}.py').train_pipeline
        for step in pipeline:
            for key in {'scale', 'crop_size'} & set(step):
                step[key] = tuple(side // 8 for side in step[key])
        built.append(Compose(pipeline))
    return built


def check_line(error: Any, path: Any, end: str = ': ') -> None:
    """One line that begins with the file."""
    message = str(error)
    assert message.startswith(f'{path}{end}') or isinstance(error, OSError) and repr(str(path)) in message
    assert '\n' not in message.replace(str(path), '') and len(message) < len(str(path)) + 600


def load_dataset(
    dataset_type: Type[BaseDataset], damaged: Path, ann_file: Path, **prefixes: Path
) -> Optional[BaseDataset]:
    """Load a dataset, or check the errors, which name the damaged file."""
    cfg = dict(
        type=dataset_type,
        ann_file=str(ann_file),
        data_prefix={key: str(path) for key, path in prefixes.items()},
        metainfo=dict(classes=CLASSES),
        serialize_data=False,
        pipeline=[LOAD],
    )
    report = check_dataset(cfg)
    for error in report.errors:
        check_line(error, damaged)
    return None if report.errors else DATASETS.build(cfg)


def check_pipelines(dataset: BaseDataset, pipelines: List[Compose]) -> None:
    """Let every pipeline change every image that the check accepts."""
    random.seed(0)
    np.random.seed(0)
    report = check_images(dataset)
    for line in report.mismatches + report.other_sizes:
        check_line(line, dataset.get_data_info(0)['img_path'].rpartition('/')[0], end='/')
    refused = set(report.unreadable) | {line.split(': has ')[0] for line in report.mismatches}
    for i in range(len(dataset)):
        for pipeline in pipelines:
            info = dataset.get_data_info(i)
            if info['img_path'] in refused:
                continue
            results = pipeline(info)
            if results is None:  # all boxes were too small for FilterAnnotations
                continue
            instances = results['data_samples'].gt_instances
            height, width = results['inputs'].shape[1:]
            assert results['inputs'].shape[0] == 3 and height and width
            assert len(instances) <= len(info['instances'])
            boxes = instances.bboxes.tensor
            assert boxes.isfinite().all() and ((instances.labels >= 0) & (instances.labels < len(CLASSES))).all()
            assert (boxes[:, 2:] >= boxes[:, :2]).all()
            assert (boxes >= 0).all() and (boxes <= torch.tensor([width, height] * 2)).all()


VALID = dict(
    images=[dict(id=i, file_name=f'{name}.jpg', width=WIDTH, height=HEIGHT) for i, name in enumerate('abc')],
    categories=[dict(id=7, name='cat'), dict(id=9, name='dog'), dict(id=2, name='cow')],
    annotations=[
        dict(id=i, image_id=i // 2, category_id=(7, 9, 2)[i % 3], bbox=[4 * i, 3 * i, 30, 25], area=750, iscrowd=i % 2)
        for i in range(6)
    ],
)
# Of few characters, since hypothesis takes seconds to list all of Unicode.
CHARACTERS = 'ab01.-/: é٣\0\n\ud800'
# Values that are wrong, nearly right or right.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 70),
    st.integers(),
    st.floats(),
    st.text(CHARACTERS, max_size=5),
    st.sampled_from([1e308, 10**400, '1', 'a.jpg', '../a.jpg', '/', 'JPEGImages', 'a\0', 's3://a', 'cat', 7, 2, 0.5]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text('ab', max_size=3), inner, max_size=2),
    max_leaves=6,
)
BOXES = st.lists(SCALARS, min_size=4, max_size=4) | st.lists(
    st.floats(-100, 200) | st.integers(-100, 200), min_size=4, max_size=4
)


@st.composite
def damaged_bytes(draw, content: bytes) -> bytes:
    """Cut bytes off, change some or put some between."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(['cut', 'change', 'insert', 'remove']))
        if kind == 'cut':
            del content[start:]
        elif kind == 'remove':
            del content[start : start + draw(st.integers(1, 9))]
        else:
            end = start + 1 if kind == 'change' else start
            content[start:end] = draw(st.binary(min_size=1, max_size=4))
    return bytes(content)


@st.composite
def damaged_coco(draw) -> bytes:
    """A COCO file with up to three faults."""
    data = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(0, 3))):
        section = draw(st.sampled_from(list(VALID)))
        kind = draw(st.sampled_from(['set', 'set', 'set', 'delete', 'repeat', 'remove', 'section', 'key']))
        if kind in ('section', 'key') or not isinstance(data.get(section), list) or not data[section]:
            data[section] = draw(VALUES)
            if kind == 'key':
                del data[section]
            continue
        position = draw(st.integers(0, len(data[section]) - 1))
        entry = data[section][position]
        if kind == 'remove':
            del data[section][position]
        elif kind == 'repeat':
            data[section].append(copy.deepcopy(entry))
        elif isinstance(entry, dict) and entry:
            field = draw(st.sampled_from(list(entry)))
            if kind == 'delete':
                del entry[field]
            else:
                entry[field] = draw(BOXES | VALUES if field == 'bbox' else VALUES)
    content = json.dumps(data).encode()
    return draw(damaged_bytes(content)) if draw(st.integers(0, 4)) == 0 else content


@given(content=damaged_coco())
def test_coco(folder, pipelines, content):
    path = folder / 'train.json'
    path.write_bytes(content)
    dataset = load_dataset(CocoDataset, path, path, img=folder / 'JPEGImages')
    if dataset is None:
        return
    # Nothing got lost: what is not used is told, is of a class that was not asked for, or asks to be ignored.
    data = json.loads(content)
    unused = set(find_unused(data))
    ids = {category['id'] for category in data['categories'] if category['name'] in CLASSES}
    expected = sum(
        annotation['category_id'] in ids and annotation['id'] not in unused and not annotation.get('ignore')
        for annotation in data.get('annotations', [])
    )
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert len(infos) == len(data['images'])
    assert sum(len(info['instances']) for info in infos) == expected
    check_pipelines(dataset, pipelines)


def make_voc() -> ET.Element:
    root = ET.Element('annotation')
    size = ET.SubElement(root, 'size')
    for name, text in dict(width=WIDTH, height=HEIGHT, depth=3).items():
        ET.SubElement(size, name).text = str(text)
    for i in range(3):
        element = ET.SubElement(root, 'object')
        ET.SubElement(element, 'name').text = ('cat', 'dog', 'cow')[i]
        ET.SubElement(element, 'difficult').text = str(i % 2)
        box = ET.SubElement(element, 'bndbox')
        for name, text in dict(xmin=5 * i, ymin=4 * i + 1, xmax=30 + i, ymax=40).items():
            ET.SubElement(box, name).text = str(text)
    return root


TEXTS = st.one_of(
    st.text(CHARACTERS[:-1], max_size=5),
    st.integers().map(str),
    st.integers(-5, 70).map(str),
    st.floats().map(str),
    st.sampled_from(['', ' 7 ', '1e9', '0x10', '1_0', 'cat', '٣', '9' * 5000]),
)


@st.composite
def damaged_voc(draw) -> bytes:
    """A Pascal VOC file with up to three faults."""
    root = make_voc()
    for _ in range(draw(st.integers(0, 3))):
        places = [(parent, child) for parent in root.iter() for child in parent]
        if not places:
            break
        parent, child = draw(st.sampled_from(places))
        kind = draw(st.sampled_from(['text', 'text', 'text', 'remove', 'repeat', 'tag']))
        if kind == 'text':
            child.text = draw(TEXTS)
        elif kind == 'remove':
            parent.remove(child)
        elif kind == 'repeat':
            parent.append(copy.deepcopy(child))
        else:
            child.tag = draw(st.sampled_from(['object', 'bndbox', 'size', 'name', 'other']))
    content = ET.tostring(root, encoding='utf-8')
    return draw(damaged_bytes(content)) if draw(st.integers(0, 4)) == 0 else content


@given(content=damaged_voc())
def test_voc(folder, pipelines, content):
    path = folder / 'Annotations/a.xml'
    path.write_bytes(content)
    dataset = load_dataset(XMLDataset, path, folder / 'list.txt', sub_data_root=folder)
    if dataset is None:
        return
    names = [element.findtext('name') for element in ET.fromstring(content).findall('object')]
    assert len(dataset.get_data_info(0)['instances']) == sum(name in CLASSES for name in names)
    check_pipelines(dataset, pipelines)


def with_exif(jpeg: bytes, orientation: int) -> bytes:
    """Put a JPEG file's orientation, as cameras do, into a segment."""
    exif = b'Exif\0\0MM\0*' + struct.pack('>IHHHIHHI', 8, 1, 0x112, 3, 1, orientation, 0, 0)
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + jpeg[2:]


@st.composite
def image_files(draw) -> bytes:
    """A whole image file of any kind."""
    shape = draw(st.sampled_from([(HEIGHT, WIDTH), (1, 1), (1, 90), (90, 1), (17, 33)]))
    channels = draw(st.sampled_from([(), (1,), (3,), (4,)]))
    image = np.random.default_rng(0).integers(0, 256, (*shape, *channels), dtype=np.uint8)
    suffix = draw(st.sampled_from(['.jpg', '.jpg', '.jpg', '.png', '.bmp', '.webp', '.tiff']))
    params = ()
    if suffix == '.jpg':
        params = (
            cv2.IMWRITE_JPEG_PROGRESSIVE,
            draw(st.integers(0, 1)),
            cv2.IMWRITE_JPEG_RST_INTERVAL,
            draw(st.integers(0, 2)),
        )
    elif suffix in ('.png', '.tiff') and draw(st.booleans()):
        image = image.astype(np.uint16) * 257
    if suffix in ('.jpg', '.webp') and channels == (4,):
        image = np.ascontiguousarray(image[..., :3])
    content = cv2.imencode(suffix, image, params)[1].tobytes()
    return with_exif(content, draw(st.integers(0, 9))) if suffix == '.jpg' and draw(st.booleans()) else content


def load_image(path: Path) -> Tuple[str, Optional[np.ndarray]]:
    """Check an image and load it, if it can be."""
    loader = LoadTruncatedImageFromFile()
    state = check_image(loader, dict(img_path=str(path)))
    if state.problem not in ('', CUT_OFF):
        assert (state.width, state.height) == (0, 0)
        return state.problem, None
    results = loader.transform(dict(img_path=str(path)))
    image = results['img']
    assert image.dtype == np.uint8 and image.shape == (state.height, state.width, 3) and image.size
    assert results['img_shape'] == results['ori_shape'] == image.shape[:2]
    return state.problem, image


@given(content=image_files())
def test_whole_images(folder, content):
    (folder / 'image.jpg').write_bytes(content)
    problem, image = load_image(folder / 'image.jpg')
    assert not problem and image is not None


@given(content=image_files(), data=st.data())
def test_cut_images(folder, content, data):
    """Never a part of an image without a word: all of it, if only what follows the pixels is missing, or a problem."""
    path = folder / 'image.jpg'
    path.write_bytes(content)
    _, whole = load_image(path)
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    problem, image = load_image(path)
    assert problem or np.array_equal(image, whole)


@given(content=image_files().flatmap(damaged_bytes) | st.binary(max_size=200))
def test_damaged_images(folder, content):
    (folder / 'image.jpg').write_bytes(content)
    load_image(folder / 'image.jpg')
