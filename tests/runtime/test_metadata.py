import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmthunder.runtime import ModelFileError
from mmthunder.runtime.metadata import FORMAT, FORMAT_1, Metadata, read_metadata
from mmthunder.runtime.preprocessing import MAX_SIDE, FixShapeResize, LoadImageFromFile, Pad, Preprocessing, Resize

PREPROCESSING = Preprocessing(
    LoadImageFromFile('color_ignore_orientation', 'pillow', True),
    (Resize((16, 32), keep_ratio=True), FixShapeResize(8, 9, (1.5, 2, 3)), Pad(size_divisor=32, pad_to_square=True)),
)
VALUES = dict(classes=['cat', 'dog'], category_ids=[17, 18], score_thr=0.05, pipeline=PREPROCESSING.to_list())
VALUES_1 = dict(classes=['cat', 'dog'], category_ids=[17, 18], score_thr=0.05, scale=[16, 32], keep_ratio=False)


def encode(**changes) -> dict:
    """Metadata as the exporter writes it, with some values replaced."""
    return dict({key: json.dumps(value) for key, value in dict(VALUES, **changes).items()}, format=FORMAT)


def encode_1(**changes) -> dict:
    """Metadata of the first format, with some values replaced."""
    return dict({key: json.dumps(value) for key, value in dict(VALUES_1, **changes).items()}, format=FORMAT_1)


def change(index: int, **fields) -> list:
    """The pipeline with fields of one step replaced."""
    pipeline = PREPROCESSING.to_list()
    pipeline[index].update(fields)
    return pipeline


def test_reads():
    assert read_metadata('a.onnx', encode(mean=None)) == Metadata(['cat', 'dog'], [17, 18], 0.05, PREPROCESSING)
    assert read_metadata('a.onnx', encode(category_ids=['a', 'b'])).category_ids == ['a', 'b']


def test_reads_format_1():
    """Colour images as OpenCV reads them, and one bilinear Resize."""
    expected = Preprocessing(LoadImageFromFile(), (Resize((16, 32), keep_ratio=False),))
    assert read_metadata('a.onnx', encode_1(mean=None)) == Metadata(['cat', 'dog'], [17, 18], 0.05, expected)


@pytest.mark.parametrize('value', [None, '', 'mmthunder detector 3', 'x' * 10**6])
def test_other_formats(value):
    metadata = encode()
    metadata.pop('format')
    with pytest.raises(ModelFileError, match='^a.onnx: not a detector of .*; export it again$') as error:
        read_metadata('a.onnx', metadata if value is None else dict(metadata, format=value))
    assert len(str(error.value)) < 300


@pytest.mark.parametrize('key', [*VALUES, 'scale', 'keep_ratio'])
@pytest.mark.parametrize(
    'text',
    [None, '', '{', 'null', '[' * 100000, '9' * 10**6, '"x"', '[NaN]', '{"a": 1}'],
    ids=['missing', 'empty', 'cut', 'null', 'deep', 'huge', 'text', 'NaN', 'object'],
)
def test_other_texts(key, text):
    metadata = encode() if key in VALUES else encode_1()
    del metadata[key]
    with pytest.raises(ModelFileError, match=rf'^a.onnx: .*{key}.*; export it again') as error:
        read_metadata('a.onnx', metadata if text is None else dict(metadata, **{key: text}))
    assert '\n' not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('classes', [], 'a list of names'),
        ('classes', ['cat', 3], 'a list of names'),
        ('category_ids', [17, 1.5], 'a list of ids'),
        ('score_thr', 2, 'a number from 0 to 1'),
        ('score_thr', True, 'a number from 0 to 1'),
        ('scale', [16], 'width and height'),
        ('scale', [16, 0], 'width and height'),
        ('scale', [16, -32], 'width and height'),
        ('scale', [16, MAX_SIDE + 1], 'width and height'),
        ('scale', [16, 32.5], 'width and height'),
        ('keep_ratio', 1, 'true or false'),
    ],
)
def test_wrong_values(key, value, expected):
    metadata = encode_1(**{key: value}) if key in VALUES_1 else encode(**{key: value})
    with pytest.raises(ModelFileError, match=f'^a.onnx: {key} in its metadata is .*, expected {expected}'):
        read_metadata('a.onnx', metadata)


@pytest.mark.parametrize(
    ('pipeline', 'place'),
    [
        ([], 'pipeline is not a list'),
        (PREPROCESSING.to_list() * 4, 'pipeline is not a list of 1 to 10'),
        ([3], r'pipeline\[0\].type is None'),
        (PREPROCESSING.to_list()[1:], r"pipeline\[0\].type is 'Resize', expected LoadImageFromFile"),
        (change(1, type='Normalize'), r"pipeline\[1\].type is 'Normalize', expected Resize or FixShapeResize or Pad"),
        (change(1, type=['Resize']), r'pipeline\[1\].type is'),
        (change(1, more=1), r'pipeline\[1\] has the keys'),
        (change(0, color_type='unchanged'), r"pipeline\[0\].color_type is 'unchanged', expected one of color"),
        (change(0, imdecode_backend='turbojpeg'), r"pipeline\[0\].imdecode_backend is 'turbojpeg'"),
        (change(0, to_float32=1), r'pipeline\[0\].to_float32 is 1'),
        (change(1, scale=[1e9, 3]), r'pipeline\[1\].scale is'),
        (change(1, scale=None), r'pipeline\[1\] has scale and scale_factor, or neither'),
        (change(1, scale_factor=[2, 2]), r'pipeline\[1\] has scale and scale_factor, or neither'),
        (change(1, scale=None, scale_factor=[0, 2]), r'pipeline\[1\].scale_factor is'),
        (change(1, interpolation='other'), r"pipeline\[1\].interpolation is 'other'"),
        (change(2, width=0), r'pipeline\[2\].width is 0'),
        (change(2, pad_val=[1, 2]), r'pipeline\[2\].pad_val has 2 values, expected 3'),
        (change(3, size=[1]), r'pipeline\[3\].size is'),
        (change(3, size_divisor=-1), r'pipeline\[3\].size_divisor is -1'),
        (change(3, padding_mode=None), r'pipeline\[3\].padding_mode is None'),
    ],
)
def test_wrong_pipelines(pipeline, place):
    with pytest.raises(ModelFileError, match=f'^a.onnx: in its metadata {place}.*; export it again$') as error:
        read_metadata('a.onnx', encode(pipeline=pipeline))
    assert len(str(error.value)) < 300


def test_lengths():
    with pytest.raises(ModelFileError, match='a.onnx: its metadata has 2 classes, but 1 category_ids'):
        read_metadata('a.onnx', encode(category_ids=[1]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 40000) | st.floats() | st.text('a1', max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a1', max_size=3), inner, max_size=2),
    max_leaves=5,
)


TEXTS = JSON.map(json.dumps) | st.text('[]{}"1,a', max_size=9)


def refuse_or_read(metadata: dict) -> None:
    try:
        read = read_metadata('a.onnx', metadata)
    except ModelFileError as error:
        assert str(error).startswith('a.onnx: ') and '\n' not in str(error)
        return
    assert len(read.classes) == len(read.category_ids) > 0 and 0 <= read.score_thr <= 1
    assert 1 <= min(read.preprocessing.output_size((30, 40)))


@given(changes=st.dictionaries(st.sampled_from([*VALUES_1, 'pipeline']), TEXTS, max_size=3))
def test_random_values(changes):
    refuse_or_read(dict(encode(), **changes))
    refuse_or_read(dict(encode_1(), **changes))


@given(
    index=st.integers(0, 3),
    key=st.sampled_from(['type', 'scale', 'scale_factor', 'pad_val', 'size', 'size_divisor', 'width', 'padding_mode']),
    value=JSON,
)
def test_random_pipelines(index, key, value):
    pipeline = change(index, **{key: value})
    refuse_or_read(encode(pipeline=pipeline))
