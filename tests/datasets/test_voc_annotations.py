from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.datasets import VOCDataset, XMLDataset
from mmdet.registry import DATASETS

from mmthunder.datasets import AnnotationError, DatasetReport, check_dataset, parse_voc

SIZE = '<size><width>64</width><height>48</height><depth>3</depth></size>'
BOX = '<bndbox><xmin>5</xmin><ymin>6.7</ymin><xmax>40</xmax><ymax>30</ymax></bndbox>'
CAT = f'<object><name>cat</name><difficult>0</difficult>{BOX}</object>'


def parse(text: str) -> None:
    parse_voc('folder/a.xml', text.encode())


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
    parse(f'<annotation>{content}</annotation>')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            SIZE.replace('<width>64</width>', ''),
            ': size/width is missing; expected an integer number of pixels, at least 1',
        ),
        (SIZE.replace('48', '0'), ": size/height is '0'; expected an integer"),
        (SIZE.replace('48', '-48'), ": size/height is '-48'; expected an integer"),
        (SIZE.replace('48', '48.5'), ": size/height is '48.5'; expected an integer"),
        (SIZE.replace('64', 'wide'), ": size/width is 'wide'; expected an integer"),
        (SIZE.replace('64', ''), ": size/width is ''; expected an integer"),
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
        parse(f'<annotation>{content}</annotation>')
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
        parse(text)


@pytest.fixture
def voc(tmp_path) -> Path:
    """One annotation without a size, and its image."""
    for folder in ('Annotations', 'JPEGImages'):
        (tmp_path / folder).mkdir()
    (tmp_path / 'list.txt').write_text('a\n')
    (tmp_path / 'Annotations/a.xml').write_text(f'<annotation>{CAT}</annotation>')
    cv2.imwrite(str(tmp_path / 'JPEGImages/a.jpg'), np.zeros((48, 64, 3), np.uint8))
    return tmp_path


def cfg_of(root: Path, kind: type = XMLDataset) -> dict:
    prefix = dict(sub_data_root=str(root / 'VOC2007') if kind is VOCDataset else str(root))
    metainfo = dict(classes=('cat',))
    return dict(type=kind, ann_file=str(root / 'list.txt'), data_prefix=prefix, metainfo=metainfo, pipeline=[])


def check(root: Path, kind: type = XMLDataset) -> DatasetReport:
    return check_dataset(cfg_of(root, kind))


def test_data_set(voc):
    """All that the check reads is what mmdet reads."""
    assert check(voc).errors == check(voc).warnings == []
    assert check(voc).counts == dict(cat=1) and check(voc).image_ids == ['a'] and check(voc).category_ids is None
    info = DATASETS.build(cfg_of(voc)).get_data_info(0)
    assert (info['width'], info['height']) == (64, 48)
    assert [(instance['bbox'], instance['bbox_label']) for instance in info['instances']] == [([4, 5, 39, 29], 0)]


def test_wrong_file_in_a_data_set(voc, tmp_path):
    path = voc / 'Annotations/a.xml'
    path.write_text(path.read_text().replace('40', 'forty'))
    (error,) = check(voc).errors
    assert error.startswith(f'{path}: object') and 'xmax is' in error
    (tmp_path / 'VOC2007').mkdir()
    path.parent.rename(tmp_path / 'VOC2007/Annotations')
    (error,) = check(voc, VOCDataset).errors
    assert 'VOC2007/Annotations/a.xml: object' in error


def test_all_files_are_reported(voc):
    (voc / 'list.txt').write_text('a\nb\nc\nd\n')
    (voc / 'Annotations/b.xml').write_text('<annotation>')
    (voc / 'Annotations/c.xml').write_text(f'<annotation>{CAT.replace("cat", "")}</annotation>')
    errors = check(voc).errors
    assert [Path(error.split(': ')[0]).name for error in errors] == ['b.xml', 'c.xml', 'd.xml']
    assert 'no such file' in errors[2]


@pytest.mark.parametrize('content', [b'', b'no image', None])
def test_unreadable_image_without_a_size(voc, content):
    path = voc / 'JPEGImages/a.jpg'
    path.unlink() if content is None else path.write_bytes(content)
    (error,) = check(voc).errors
    assert f'a.xml: has no size, and the image {path} is missing or not readable' in error


def test_objects_of_other_classes_are_reported(voc):
    """A name that is spelt in two ways, behind the first file that has all classes."""
    (voc / 'list.txt').write_text('a\nb\nc\n')
    others = CAT.replace('cat', 'Cat'), CAT.replace('cat', 'cow')
    for name, objects in dict(b=others[0] + CAT, c=others[0] + others[1]).items():
        (voc / f'Annotations/{name}.xml').write_text(f'<annotation>{SIZE}{objects}</annotation>')
    dataset = DATASETS.build(cfg_of(voc))
    assert sum(len(info['instances']) for info in map(dataset.get_data_info, range(3))) == 2
    (warning,) = check(voc).warnings
    assert warning.startswith(f'{voc}/list.txt: objects that are not used, ') and warning.endswith(": 2 'Cat', 1 'cow'")


def test_classes_without_objects(voc):
    """A misspelt class cannot be trained on; a test set may lack a rare one."""
    cfg = dict(cfg_of(voc), metainfo=dict(classes=('rare', 'cat')))
    assert check_dataset(cfg).errors == check_dataset(cfg).warnings == []
    (voc / 'Annotations/a.xml').write_text(f'<annotation>{CAT}{CAT.replace("cat", "cow")}</annotation>')
    (error,) = check_dataset(cfg).errors
    assert "the classes ['rare'] of metainfo are not among the objects, which have ['cow']" in error
    report = check_dataset(cfg, training=False)
    assert report.errors == [] and "no objects of the classes ['rare'], but some of ['cow']" in report.warnings[0]
