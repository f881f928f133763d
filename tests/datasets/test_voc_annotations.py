import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.datasets import VOCDataset, XMLDataset
from mmengine.logging import MMLogger

from mmthunder.datasets import AnnotationError
from mmthunder.datasets.voc_annotations import check_annotation

SIZE = '<size><width>64</width><height>48</height><depth>3</depth></size>'
BOX = '<bndbox><xmin>5</xmin><ymin>6.7</ymin><xmax>40</xmax><ymax>30</ymax></bndbox>'
CAT = f'<object><name>cat</name><difficult>0</difficult>{BOX}</object>'


def check(text: str) -> None:
    check_annotation('folder/a.xml', text.encode())


@pytest.mark.parametrize(
    'content',
    [
        SIZE,
        SIZE + CAT,
        CAT,  # mmdet takes the size from the image
        f'{SIZE}<object><name>dog</name>{BOX}</object>{CAT}',
        SIZE + CAT.replace('40', '5').replace('30', '6.7'),  # no area
        SIZE + CAT.replace('40', '4000'),
        SIZE + CAT.replace('40', '4e1'),
        SIZE + CAT.replace('>5<', '>-3<'),
        SIZE + CAT.replace('>0<', '>1<'),
        f'{SIZE}<object><name>person</name>{BOX}<part><name>head</name>{BOX}</part></object>',
    ],
)
def test_accepts(content):
    check(f'<annotation>{content}</annotation>')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            SIZE.replace('<width>64</width>', ''),
            ': size/width is missing; expected a whole number of pixels, at least 1',
        ),
        (SIZE.replace('48', '0'), ": size/height is '0'; expected a whole"),
        (SIZE.replace('48', '-48'), ": size/height is '-48'; expected a whole"),
        (SIZE.replace('48', '48.5'), ": size/height is '48.5'; expected a whole"),
        (SIZE.replace('64', 'wide'), ": size/width is 'wide'; expected a whole"),
        (SIZE.replace('64', ''), ": size/width is ''; expected a whole"),
        (SIZE.replace('64', '9' * 5000), ": size/width is '9999"),
        (CAT.replace('cat', ''), ": object[0] with name '': expected the name of a class"),
        (CAT.replace('<name>cat</name>', ''), ': object[0] with name None: expected the name'),
        (
            CAT.replace('>0<', '>Unspecified<'),
            ": object[0] with name 'cat': difficult is 'Unspecified'; expected 0 or 1",
        ),
        (CAT.replace(BOX, ''), ": object[0] with name 'cat': bndbox/xmin is missing; expected a number of pixels"),
        (CAT + CAT.replace('<ymax>30</ymax>', ''), ": object[1] with name 'cat': bndbox/ymax is missing"),
        (CAT.replace('40', 'nan'), ": object[0] with name 'cat': bndbox/xmax is 'nan'; expected a number of pixels"),
        (CAT.replace('40', '-inf'), "bndbox/xmax is '-inf'"),
        (CAT.replace('40', '1e300'), "bndbox/xmax is '1e300'"),
        (CAT.replace('40', '4O'), "bndbox/xmax is '4O'"),
        (CAT.replace('40', '4'), ": object[0] with name 'cat': bndbox/xmax is 4; expected at least xmin, 5"),
        (CAT.replace('30', '6'), ': bndbox/ymax is 6; expected at least ymin, 6.7'),
    ],
)
def test_refuses(content, message):
    with pytest.raises(AnnotationError) as error:
        check(f'<annotation>{content}</annotation>')
    assert str(error.value).startswith('folder/a.xml: ') and message in str(error.value)
    assert '\n' not in str(error.value) and len(str(error.value)) < 300


LAUGHS = ''.join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))


@pytest.mark.parametrize(
    'text',
    [
        '',
        'text',
        '<annotation>',
        '<?xml version="1.0" encoding="nonsense"?><annotation/>',
        f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><annotation>&l9;</annotation>',
        '<!DOCTYPE x [<!ENTITY file SYSTEM "file:///etc/passwd">]><annotation>&file;</annotation>',
    ],
    ids=['empty', 'text', 'cut', 'encoding', 'bomb', 'other file'],
)
def test_no_xml(text):
    with pytest.raises(AnnotationError, match='^folder/a.xml: not readable as XML .*; the file is damaged or was cut'):
        check(text)


@pytest.fixture
def voc(tmp_path) -> Path:
    """One annotation without a size, and its image."""
    for folder in ('Annotations', 'JPEGImages'):
        (tmp_path / folder).mkdir()
    (tmp_path / 'list.txt').write_text('a\n')
    (tmp_path / 'Annotations/a.xml').write_text(f'<annotation>{CAT}</annotation>')
    cv2.imwrite(str(tmp_path / 'JPEGImages/a.jpg'), np.zeros((48, 64, 3), np.uint8))
    return tmp_path


def build(root: Path, kind: type) -> XMLDataset:
    prefix = dict(sub_data_root=str(root / 'VOC2007') if kind is VOCDataset else str(root))
    return kind(ann_file=str(root / 'list.txt'), data_prefix=prefix, metainfo=dict(classes=('cat',)), pipeline=[])


def test_data_set(voc):
    """All that the check reads is what mmdet reads."""
    info = build(voc, XMLDataset).get_data_info(0)
    assert (info['width'], info['height']) == (64, 48)
    assert [(instance['bbox'], instance['bbox_label']) for instance in info['instances']] == [([4, 5, 39, 29], 0)]


def test_wrong_file_in_a_data_set(voc, tmp_path):
    path = voc / 'Annotations/a.xml'
    path.write_text(path.read_text().replace('40', 'forty'))
    with pytest.raises(AnnotationError, match=f'^{re.escape(str(path))}: object.*xmax is'):
        build(voc, XMLDataset)
    (tmp_path / 'VOC2007').mkdir()
    path.parent.rename(tmp_path / 'VOC2007/Annotations')
    with pytest.raises(AnnotationError, match='VOC2007/Annotations/a.xml: object.*xmax is'):
        build(voc, VOCDataset)


@pytest.mark.parametrize('content', [b'', b'no image', None])
def test_unreadable_image_without_a_size(voc, content):
    path = voc / 'JPEGImages/a.jpg'
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(AnnotationError, match='a.xml: has no size, and the image JPEGImages/a.jpg is missing or not r'):
        build(voc, XMLDataset)


def test_objects_of_other_classes_are_told(voc, caplog):
    """A name that is spelt in two ways, behind the first file that has all classes."""
    logger = MMLogger.get_current_instance()
    logger.setLevel(logging.WARNING)
    logger.addHandler(caplog.handler)
    build(voc, XMLDataset)
    assert not caplog.records
    (voc / 'list.txt').write_text('a\nb\nc\n')
    others = CAT.replace('cat', 'Cat'), CAT.replace('cat', 'cow')
    for name, objects in dict(b=others[0] + CAT, c=others[0] + others[1]).items():
        (voc / f'Annotations/{name}.xml').write_text(f'<annotation>{SIZE}{objects}</annotation>')
    dataset = build(voc, XMLDataset)
    assert sum(len(info['instances']) for info in map(dataset.get_data_info, range(3))) == 2
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith(f'{voc}/list.txt: objects that are not used, ') and message.endswith(": 2 'Cat', 1 'cow'")
