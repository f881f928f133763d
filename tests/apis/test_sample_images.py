import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmthunder.apis import ImagePipeline, load_sample_images


def test_first_of_the_test_set(tiny_cfg, shapes, capsys):
    images = load_sample_images(tiny_cfg, None, 2)
    assert len(images) == 2
    assert np.array_equal(images[1], cv2.imread(str(shapes / 'val/000001.jpg')))
    assert len(load_sample_images(tiny_cfg, None, 99)) == 4
    assert capsys.readouterr().err == ''


def test_of_the_validation_set(tiny_cfg):
    """Where the config has no test set."""
    tiny_cfg.test_dataloader = None
    assert len(load_sample_images(tiny_cfg, None, 2)) == 2


def test_drawn_without_a_data_set(tiny_cfg, tmp_path, capsys):
    """Always the same ones, different from each other, with areas of one colour on the noise."""
    tiny_cfg.test_dataloader.dataset.data_root = str(tmp_path / 'missing')
    images = load_sample_images(tiny_cfg, None, 3)
    warning = capsys.readouterr().err
    assert warning.startswith('warning: no test set') and str(tmp_path / 'missing') in warning
    assert warning.endswith('images of random rectangles are used instead\n')
    assert [(image.shape, image.dtype) for image in images] == [((240, 320, 3), np.uint8)] * 3
    assert all(np.array_equal(*pair) for pair in zip(images, load_sample_images(tiny_cfg, None, 3)))
    assert not np.array_equal(images[0], images[1])
    for cfg in (Config(dict(train_dataloader=None)), Config({})):
        pipeline = ImagePipeline(cfg, shape=(64, 64))
        assert np.array_equal(load_sample_images(cfg, None, 3, pipeline)[0], images[0])
    for image in images:
        plain = (image[1:] == image[:-1]).all(-1).mean()
        assert 0.05 < plain < 0.95


def test_drawn_in_grey(tiny_cfg, tmp_path):
    tiny_cfg.test_dataloader.dataset.data_root = str(tmp_path / 'missing')
    tiny_cfg.test_dataloader.dataset.pipeline[0].color_type = 'grayscale'
    assert [image.shape for image in load_sample_images(tiny_cfg, None, 2)] == [(240, 320)] * 2


def test_given(tiny_cfg, tmp_path):
    """Read as the config says."""
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    (tmp_path / 'broken.png').write_bytes(b'no image')
    (found,) = load_sample_images(tiny_cfg, [str(tmp_path / 'a.png')], 0)
    assert np.array_equal(found, image)
    with pytest.raises(ValueError, match='broken.png: not a readable image'):
        load_sample_images(tiny_cfg, [str(tmp_path / name) for name in ('a.png', 'broken.png')], 0)
    tiny_cfg.test_dataloader.dataset.pipeline[0].color_type = 'grayscale'
    (found,) = load_sample_images(tiny_cfg, [str(tmp_path / 'a.png')], 0)
    assert np.array_equal(found, cv2.imread(str(tmp_path / 'a.png'), cv2.IMREAD_GRAYSCALE))
