import errno
import io
import re
import struct
import zlib
from pathlib import Path
from typing import Optional
from urllib.error import URLError

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.utils import get_loading_pipeline
from mmdet.registry import TRANSFORMS

from mmthunder.datasets.transforms.loading import is_cut_off

LOAD = dict(type='LoadImageFromFile')


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_reads_like_mmcv(tmp_path, channels):
    """Grayscale and transparent files too, always as three channels."""
    file = str(tmp_path / 'image.png')
    image = np.random.default_rng(0).integers(0, 255, (5, 7, channels), dtype=np.uint8)
    cv2.imwrite(file, image)
    results = TRANSFORMS.build(LOAD).transform(dict(img_path=file))
    expected = LoadImageFromFile.transform.__wrapped__(LoadImageFromFile(), dict(img_path=file))
    assert results['img'].shape == (5, 7, 3)
    assert np.array_equal(results['img'], expected['img'])
    assert results['img_shape'] == results['ori_shape'] == (5, 7)


@pytest.mark.parametrize('content', [b'', b'text', b'\xff\xd8\xff\xe0\x00\x10JFIF'])
def test_unreadable_files_are_named(tmp_path, content):
    file = tmp_path / 'image.jpg'
    file.write_bytes(content)
    load = TRANSFORMS.build(LOAD)
    with pytest.raises(ValueError, match=f'^{re.escape(str(file))}: not a readable image; replace'):
        load.transform(dict(img_path=str(file)))


@pytest.mark.parametrize('content', [b'', b'text', b'P6 60000 60000 255\n'], ids=['empty', 'text', 'bomb'])
def test_unreadable_files_are_named_with_pillow(tmp_path, content):
    """Its OSErrors name no file. The last would have 60000x60000 px."""
    file = tmp_path / 'image.jpg'
    load = TRANSFORMS.build(dict(LOAD, imdecode_backend='pillow'))
    file.write_bytes(encode('.jpg'))
    assert load.transform(dict(img_path=str(file)))['img'].shape == (48, 64, 3)
    for damaged in (content, encode('.jpg')[:300], encode('.jpg')[:-200], encode('.png')[:-200]):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=f'^{re.escape(str(file))}: not a readable image; replace'):
            load.transform(dict(img_path=str(file)))


@pytest.mark.parametrize(
    'error',
    [
        ImportError('Please install petrel_client'),
        MemoryError(),
        OSError(errno.EIO, 'Input/output error'),
        URLError('Connection refused'),
        RuntimeError('of a storage'),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_are_not_the_files(tmp_path, monkeypatch, error):
    """A missing client, no memory, the disk, the network: these say themselves what is wrong."""

    def fail(*args, **kwargs) -> None:
        raise error

    monkeypatch.setattr('mmengine.fileio.get', fail)
    with pytest.raises(type(error)) as caught:
        load(tmp_path / 'image.jpg')
    assert caught.value is error


def test_ignore_empty(tmp_path):
    """mmcv's argument keeps its meaning."""
    (tmp_path / 'image.jpg').write_bytes(b'')
    load = TRANSFORMS.build(dict(LOAD, ignore_empty=True))
    assert load.transform(dict(img_path=str(tmp_path / 'image.jpg'))) is None


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / 'image.jpg'))):
        TRANSFORMS.build(LOAD).transform(dict(img_path=str(tmp_path / 'image.jpg')))


def test_mmdets_tools_find_the_step():
    """analyze_results and others look for mmcv's class itself."""
    pipeline = [LOAD, dict(type='LoadAnnotations', with_bbox=True), dict(type='PackDetInputs')]
    assert get_loading_pipeline(pipeline) == pipeline[:2]


def photograph(height: int = 48, width: int = 64) -> np.ndarray:
    return cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8), (9, 9), 0)


def encode(suffix: str, *params: int, image: Optional[np.ndarray] = None) -> bytes:
    return cv2.imencode(suffix, photograph() if image is None else image, params)[1].tobytes()


def with_segment(jpeg: bytes, content: bytes) -> bytes:
    """Put an APP1 segment, where cameras have EXIF data, into a JPEG file."""
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(content) + 2) + content + jpeg[2:]


def turned(jpeg: bytes) -> bytes:
    """Let a JPEG file ask to be shown turned by 90 degrees."""
    return with_segment(jpeg, b'Exif\0\0MM\0*' + struct.pack('>IHHHIHHI', 8, 1, 0x112, 3, 1, 6, 0, 0))


def load(path: Path, **info) -> dict:
    return TRANSFORMS.build(LOAD).transform(dict(img_path=str(path), **info))


PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
CUT = dict(
    baseline=encode('.jpg'),
    progressive=encode('.jpg', *PROGRESSIVE),
    thumbnail=with_segment(encode('.jpg'), b'Exif\0\0' + encode('.jpg', image=photograph(8, 8))),
    png=encode('.png'),
    bmp=encode('.bmp'),
    webp=encode('.webp'),
)


@pytest.mark.parametrize('content', CUT.values(), ids=CUT)
@pytest.mark.parametrize('share', [0.5, 0.8, 0.99])
def test_cut_files_are_named(tmp_path, content, share):
    """OpenCV would give the top of a JPEG photograph and grey below."""
    file = tmp_path / 'image.jpg'
    file.write_bytes(content)
    assert load(file)['img'].shape == (48, 64, 3)
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=f'^{re.escape(str(file))}: (the image is cut off|not a readable image); '):
        load(file)


@pytest.mark.parametrize('content', [b'\0' * 100, encode('.jpg'), b'\xff\xda' * 9])
def test_more_behind_the_image(tmp_path, content):
    """As in photographs with a second picture or a video."""
    (tmp_path / 'image.jpg').write_bytes(encode('.jpg') + content)
    expected = cv2.imdecode(np.frombuffer(encode('.jpg'), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(load(tmp_path / 'image.jpg')['img'], expected)


@pytest.mark.parametrize('content', [b'\xff', b'\xff\xff\xff', b'\xff\x01', b'\xff\xd0', b'\0', b'\xff\0', b'between'])
def test_between_the_segments_of_a_header(tmp_path, content):
    """Fill bytes, markers without a segment, and bytes that mean nothing: OpenCV passes over them."""
    jpeg, thumbnail = encode('.jpg'), CUT['thumbnail'][2 : 2 - len(encode('.jpg'))]
    tables = jpeg.index(b'\xff\xdb')
    jpeg = jpeg[:tables] + content + thumbnail + jpeg[tables:]
    (tmp_path / 'image.jpg').write_bytes(jpeg)
    expected = cv2.imdecode(np.frombuffer(encode('.jpg'), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(load(tmp_path / 'image.jpg')['img'], expected)
    assert is_cut_off(io.BytesIO(jpeg[:-2]))


def test_other_formats_are_not_read_again():
    file = io.BytesIO(encode('.png'))
    assert not is_cut_off(file)
    assert file.tell() == 2


@pytest.mark.parametrize(
    ('suffix', 'image'),
    [
        ('.png', photograph().astype(np.uint16) * 257),
        ('.tiff', photograph()),
        ('.webp', photograph()),
        ('.bmp', photograph()[..., 0]),
    ],
)
def test_other_formats_under_a_jpeg_name(tmp_path, suffix, image):
    (tmp_path / 'image.jpg').write_bytes(encode(suffix, image=image))
    results = load(tmp_path / 'image.jpg')
    assert results['img'].shape == (48, 64, 3) and results['img'].dtype == np.uint8


def test_enormous_header(tmp_path):
    """60000x60000 px, which nothing follows."""
    png = bytearray(encode('.png'))
    png[16:24] = struct.pack('>II', 60000, 60000)
    png[29:33] = struct.pack('>I', zlib.crc32(png[12:29]))
    (tmp_path / 'image.png').write_bytes(png)
    with pytest.raises(ValueError, match='image.png: not a readable image'):
        load(tmp_path / 'image.png')


@pytest.mark.parametrize('name', ['a\0b.jpg', 'ftp://a.jpg', 'a://b://c.jpg'])
def test_names_that_are_no_files(tmp_path, name):
    with pytest.raises(ValueError, match=re.escape(f'{name}: not a readable image')):
        load(f'{tmp_path}/{name}')


class TestSize:
    """The annotated size and boxes, which mmdet puts into what the pipeline gets."""

    @pytest.fixture
    def file(self, tmp_path) -> Path:
        (tmp_path / 'image.jpg').write_bytes(encode('.jpg'))
        return tmp_path / 'image.jpg'

    def test_right(self, file, recwarn):
        load(file, width=64, height=48, instances=[dict(bbox=[-9, 5, 400, 30])])
        load(file, width=64.0, height=48.0)
        load(file)
        assert not recwarn

    def test_boxes_of_another_image(self, file):
        info = dict(width=128, height=96, instances=[dict(bbox=[1, 2, 3, 4]), dict(bbox=[60, 50, 100, 90])])
        message = f'{file}: has 64x48 px, but its annotations say 128x96 (width x height) and have boxes outside of'
        with pytest.raises(ValueError, match=re.escape(message)):
            load(file, **info)

    def test_boxes_that_fit(self, file):
        with pytest.warns(UserWarning, match='image.jpg: has 64x48 px, but its annotations say 48x64'):
            load(file, width=48, height=64, instances=[dict(bbox=[1, 2, 30, 40])])

    def test_turned_by_exif(self, file):
        """OpenCV turns the image; boxes that were drawn on the file's own pixels are not where they were."""
        file.write_bytes(turned(encode('.jpg')))
        results = load(file, width=48, height=64, instances=[dict(bbox=[1, 2, 40, 60])])
        assert results['img'].shape == (64, 48, 3)
        with pytest.raises(ValueError, match='image.jpg: has 48x64 px, but its annotations say 64x48 .* been turned'):
            load(file, width=64, height=48, instances=[dict(bbox=[1, 2, 60, 40])])
