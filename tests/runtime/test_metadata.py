import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmthunder.runtime import ModelFileError
from mmthunder.runtime.metadata import FORMAT, MAX_SIDE, Metadata, read_metadata

VALUES = dict(classes=['cat', 'dog'], category_ids=[17, 18], score_thr=0.05, scale=[16, 32], keep_ratio=False)


def encode(**changes) -> dict:
    """Metadata as the exporter writes it, with some values replaced."""
    return dict({key: json.dumps(value) for key, value in dict(VALUES, **changes).items()}, format=FORMAT)


def test_reads():
    assert read_metadata('a.onnx', encode(mean=None)) == Metadata(['cat', 'dog'], [17, 18], 0.05, (16, 32), False)


@pytest.mark.parametrize('value', [None, '', 'mmthunder detector 2', 'x' * 10**6])
def test_other_formats(value):
    metadata = encode()
    metadata.pop('format')
    with pytest.raises(ModelFileError, match='^a.onnx: not a detector of .*; export it again$') as error:
        read_metadata('a.onnx', metadata if value is None else dict(metadata, format=value))
    assert len(str(error.value)) < 300


@pytest.mark.parametrize('key', VALUES)
@pytest.mark.parametrize(
    'text',
    [None, '', '{', 'null', '[' * 100000, '9' * 10**6, '"x"', '[NaN]', '{"a": 1}'],
    ids=['missing', 'empty', 'cut', 'null', 'deep', 'huge', 'text', 'NaN', 'object'],
)
def test_other_texts(key, text):
    metadata = encode()
    del metadata[key]
    with pytest.raises(ModelFileError, match=f'^a.onnx: {key} in its metadata is .*, expected .*export it') as error:
        read_metadata('a.onnx', metadata if text is None else dict(metadata, **{key: text}))
    assert '\n' not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('classes', [], 'a list of names'),
        ('classes', ['cat', 3], 'a list of names'),
        ('category_ids', [17, '18'], 'a list of whole numbers'),
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
    with pytest.raises(ModelFileError, match=f'^a.onnx: {key} in its metadata is .*, expected {expected}'):
        read_metadata('a.onnx', encode(**{key: value}))


def test_lengths():
    with pytest.raises(ModelFileError, match='a.onnx: its metadata has 2 classes, but 1 category_ids'):
        read_metadata('a.onnx', encode(category_ids=[1]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 40000) | st.floats() | st.text('a1', max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a1', max_size=3), inner, max_size=2),
    max_leaves=5,
)


TEXTS = JSON.map(json.dumps) | st.text('[]{}"1,a', max_size=9)


@given(changes=st.dictionaries(st.sampled_from(list(VALUES)), TEXTS, max_size=3))
def test_random_values(changes):
    try:
        read = read_metadata('a.onnx', dict(encode(), **changes))
    except ModelFileError as error:
        assert str(error).startswith('a.onnx: ') and '\n' not in str(error)
        return
    assert len(read.classes) == len(read.category_ids) > 0 and 0 <= read.score_thr <= 1
    assert all(type(side) is int and 0 < side <= MAX_SIDE for side in read.scale) and type(read.keep_ratio) is bool
