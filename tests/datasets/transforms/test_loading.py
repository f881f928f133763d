import errno
import pickle
import struct
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Optional
from urllib.error import URLError

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS
from mmengine.dataset import BaseDataset
from torch.utils.data import DataLoader

from mmthunder.datasets.transforms import LoadTruncatedImageFromFile
from mmthunder.datasets.transforms.loading import is_cut_off, is_of_the_file

LOAD = dict(type='LoadTruncatedImageFromFile')


def photograph(height: int = 48, width: int = 64) -> np.ndarray:
    return cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8), (9, 9), 0)


def encode(suffix: str, *params: int, image: Optional[np.ndarray] = None) -> bytes:
    return cv2.imencode(suffix, photograph() if image is None else image, params)[1].tobytes()


def decode(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def with_segment(jpeg: bytes, content: bytes) -> bytes:
    """Put an APP1 segment, where cameras have EXIF data, into a JPEG file."""
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(content) + 2) + content + jpeg[2:]


def load(path: Path, **options) -> Optional[dict]:
    return TRANSFORMS.build(dict(LOAD, **options)).transform(dict(img_path=str(path)))


LARGE = photograph(240, 320)
JPEGS = dict(
    baseline=encode('.jpg', image=LARGE),
    progressive=encode('.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1, image=LARGE),
    thumbnail=with_segment(encode('.jpg', image=LARGE), b'Exif\0\0' + encode('.jpg', image=photograph(8, 8))),
)


@pytest.mark.parametrize('options', [{}, dict(color_type='grayscale'), dict(to_float32=True)])
@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_is_mmcvs(tmp_path, suffix, options):
    """For files that are whole."""
    file = tmp_path / f'image{suffix}'
    file.write_bytes(encode(suffix))
    expected = LoadImageFromFile(**options).transform(dict(img_path=str(file)))
    results = load(file, **options)
    assert results.keys() == expected.keys() and results['img'].dtype == expected['img'].dtype
    assert np.array_equal(results['img'], expected['img']) and results['ori_shape'] == expected['ori_shape']
    like = LoadTruncatedImageFromFile.like(LoadImageFromFile(**options))
    assert np.array_equal(like.transform(dict(img_path=str(file)))['img'], expected['img'])


@pytest.mark.parametrize('content', JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('missing', [1, 20, 0.2, 0.5])
def test_loads_the_part_that_is_there(tmp_path, content, backend, missing):
    """The top of a JPEG photograph."""
    file = tmp_path / 'image.jpg'
    end = len(content) - missing if missing >= 1 else int((1 - missing) * len(content))
    file.write_bytes(content[:end])
    assert is_cut_off(content[:end]) and not is_cut_off(content)
    results = load(file, imdecode_backend=backend)
    assert results['img'].shape == (240, 320, 3) and results['img_shape'] == results['ori_shape'] == (240, 320)
    if content is not JPEGS['progressive']:
        assert np.array_equal(results['img'][:8], decode(content)[:8])


@pytest.mark.parametrize('content', [b'', b'text', b'\xff\xd8\xff\xe0\x00\x10JFIF', encode('.png')[:-200], None])
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_unreadable(tmp_path, content, backend):
    """Raises, or leaves it out."""
    file = tmp_path / 'image.jpg'
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Exception):  # noqa: B017  mmcv's, of many types
        load(file, imdecode_backend=backend)
    loader = TRANSFORMS.build(dict(LOAD, imdecode_backend=backend, skip_unreadable=True))
    assert loader.transform(dict(img_path=str(file))) is None and loader.num_skipped == 1


@pytest.mark.parametrize('content', [b'\0' * 100, encode('.jpg'), b'\xff\xda' * 9])
def test_more_behind_the_image(tmp_path, content):
    """As in photographs with a second picture or a video."""
    (tmp_path / 'image.jpg').write_bytes(encode('.jpg') + content)
    assert np.array_equal(load(tmp_path / 'image.jpg')['img'], decode(encode('.jpg')))
    assert not is_cut_off(encode('.jpg') + content)


@pytest.mark.parametrize('content', [b'\xff', b'\xff\xff\xff', b'\xff\x01', b'\xff\xd0', b'\0', b'\xff\0', b'between'])
def test_between_the_segments_of_a_header(content):
    """Fill bytes, markers without a segment, and bytes that mean nothing: OpenCV skips them."""
    jpeg, thumbnail = encode('.jpg'), JPEGS['thumbnail'][2 : 2 - len(JPEGS['baseline'])]
    tables = jpeg.index(b'\xff\xdb')
    jpeg = jpeg[:tables] + content + thumbnail + jpeg[tables:]
    assert np.array_equal(decode(jpeg), decode(encode('.jpg')))
    assert is_cut_off(jpeg[:-2]) and not is_cut_off(jpeg)


@pytest.mark.parametrize('suffix', ['.png', '.bmp', '.webp', '.tiff'])
def test_other_formats(suffix):
    assert not is_cut_off(encode(suffix)) and not is_cut_off(encode(suffix)[:99])


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (FileNotFoundError(errno.ENOENT, 'No such file'), True),
        (IsADirectoryError(errno.EISDIR, 'Is a directory'), True),
        (OSError('image file is truncated'), True),
        (SyntaxError('broken PNG file'), True),
        (AssertionError('failed to load image'), True),
        (ImportError('Please install petrel_client'), False),
        (MemoryError(), False),
        (OSError(errno.EIO, 'Input/output error'), False),
        (OSError(errno.ESTALE, 'Stale file handle'), False),
        (URLError('Connection refused'), False),
    ],
    ids=repr,
)
def test_whose_errors(tmp_path, monkeypatch, error, expected):
    """A missing client, no memory, the disk, the network: these are not the file's, and are raised."""
    assert is_of_the_file(error) == expected

    def fail(*args, **kwargs) -> None:
        raise error

    monkeypatch.setattr('mmengine.fileio.get', fail)
    if expected:
        assert load(tmp_path / 'image.jpg', skip_unreadable=True) is None
    else:
        with pytest.raises(type(error)) as caught:
            load(tmp_path / 'image.jpg', skip_unreadable=True)
        assert caught.value is error


class Photographs(BaseDataset):
    def load_data_list(self) -> list:
        return [dict(img_path=str(Path(self.data_prefix['img'], f'{i}.jpg'))) for i in range(4)]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_data_sets_take_another_image(tmp_path, num_workers):
    """In training; all worker processes count together."""
    for i in range(4):
        (tmp_path / f'{i}.jpg').write_bytes(b'' if i == 2 else encode('.jpg'))
    dataset = Photographs(data_prefix=dict(img=str(tmp_path)), pipeline=[dict(LOAD, skip_unreadable=True)])
    loader = DataLoader(dataset, num_workers=num_workers, collate_fn=len)
    for epoch in (1, 2):
        assert sum(loader) == 4
        assert dataset.pipeline.transforms[0].num_skipped >= epoch


def test_counts_across_processes_of_any_start_method():
    """What spawn and forkserver pickle counts with the original."""
    loader = TRANSFORMS.build(LOAD)
    copy = pickle.loads(ForkingPickler.dumps(loader))
    copy.num_skipped += 3
    assert loader.num_skipped == 3
