import re

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.utils import get_loading_pipeline
from mmdet.registry import TRANSFORMS

import mmthunder.datasets  # noqa: F401

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
