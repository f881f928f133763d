import copy
import tracemalloc

import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import Expand, MinIoURandomCrop
from mmdet.registry import DATASETS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.dataset import Compose

from mmthunder.datasets.transforms import ExpandMinIoURandomCrop

EXPAND = dict(mean=[123.675, 116.28, 103.53], to_rgb=True, ratio_range=(1, 4))
CROP = dict(min_ious=(0.1, 0.3, 0.5, 0.7, 0.9), min_crop_size=0.3)


def make_results(height: int, width: int, num_boxes: int, seed: int = 0, dtype: type = np.uint8) -> dict:
    """An image of noise whose boxes may lie across its borders."""
    rng = np.random.default_rng(seed)
    sides = rng.uniform(0, 0.7, (num_boxes, 2)) * (width, height)
    corners = rng.uniform(-0.2, 1, (num_boxes, 2)) * (width, height)
    return dict(
        img=rng.integers(0, 256, (height, width, 3)).astype(dtype),
        img_shape=(height, width),
        gt_bboxes=HorizontalBoxes(np.concatenate([corners, corners + sides], axis=1).astype(np.float32)),
        gt_bboxes_labels=np.arange(num_boxes),
        gt_ignore_flags=rng.random(num_boxes) < 0.2,
    )


def check_equal(results: dict, expected: dict) -> None:
    assert results.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, HorizontalBoxes):
            assert isinstance(results[key], HorizontalBoxes)
            assert torch.equal(results[key].tensor, value.tensor) and results[key].tensor.dtype == value.tensor.dtype
        elif isinstance(value, np.ndarray):
            assert results[key].dtype == value.dtype and np.array_equal(results[key], value), key
        else:
            assert results[key] == value, key


OPTIONS = [{}, dict(bbox_clip_border=False), dict(min_ious=(0.01,), min_crop_size=0.05)]


@pytest.mark.parametrize(('prob', 'options'), [(0.5, OPTIONS[0]), (1, OPTIONS[0]), (0, OPTIONS[1]), (0.5, OPTIONS[2])])
@pytest.mark.parametrize('num_boxes', [0, 1, 4, 30])
@pytest.mark.parametrize(('height', 'width'), [(120, 160), (67, 31), (9, 7)])
def test_is_mmdets(height, width, num_boxes, prob, options):
    """Image, boxes, labels and the random numbers that are left for the next transform."""
    mmdets = Compose([Expand(**EXPAND, prob=prob), MinIoURandomCrop(**dict(CROP, **options))])
    ours = ExpandMinIoURandomCrop(**EXPAND, prob=prob, **dict(CROP, **options))
    for seed in range(8):
        dtype = (np.uint8, np.float32)[seed % 2]
        np.random.seed(seed)
        expected = mmdets(make_results(height, width, num_boxes, seed, dtype))
        following = np.random.random()
        np.random.seed(seed)
        check_equal(ours(make_results(height, width, num_boxes, seed, dtype)), expected)
        assert np.random.random() == following


def test_arrays_of_boxes():
    """As mmdet's transforms take them."""
    results = make_results(50, 60, 3)
    np.random.seed(1)
    expected = ExpandMinIoURandomCrop(**EXPAND)(copy.deepcopy(results))
    results['gt_bboxes'] = results['gt_bboxes'].numpy()
    np.random.seed(1)
    assert np.array_equal(ExpandMinIoURandomCrop(**EXPAND)(results)['gt_bboxes'], expected['gt_bboxes'].numpy())


def test_pipeline_on_photographs(load, repo, shared):
    """The whole pipeline of COCO's recipe, on real images with crowds and small objects."""
    cfg = load(repo / 'configs/_base_/datasets/coco_320.py')
    (index,) = (i for i, step in enumerate(cfg.train_pipeline) if step.type == 'ExpandMinIoURandomCrop')
    own = {key: value for key, value in cfg.train_pipeline[index].items() if key != 'type'}
    assert own == {**EXPAND, **CROP}
    ours = Compose(cfg.train_pipeline)
    cfg.train_pipeline[index : index + 1] = [dict(type='Expand', **EXPAND), dict(type='MinIoURandomCrop', **CROP)]
    mmdets = Compose(cfg.train_pipeline)
    dataset = dict(cfg.train_dataloader.dataset, data_root=f'{shared}/data/tinycoco/', pipeline=[])
    dataset = DATASETS.build(dataset)
    assert len(dataset) >= 30
    for i in range(len(dataset)):
        np.random.seed(i)
        expected = mmdets(dataset.get_data_info(i))
        np.random.seed(i)
        packed = ours(dataset.get_data_info(i))
        assert torch.equal(packed['inputs'], expected['inputs'])
        sample, mmdets_sample = packed['data_samples'], expected['data_samples']
        assert sample.metainfo == mmdets_sample.metainfo
        for key in ('gt_instances', 'ignored_instances'):
            assert torch.equal(sample.get(key).bboxes.tensor, mmdets_sample.get(key).bboxes.tensor)
            assert torch.equal(sample.get(key).labels, mmdets_sample.get(key).labels)


def test_makes_only_what_it_keeps():
    """Not the expanded image, which has 16 times the area."""
    transform = ExpandMinIoURandomCrop(ratio_range=(4, 4), prob=1, min_crop_size=0.3)
    for seed in range(5):
        results = make_results(400, 400, 1, seed)
        np.random.seed(seed)
        tracemalloc.start()
        image = transform(results)['img']
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < image.nbytes + 50_000


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(img=np.zeros((20, 30), np.uint8)), ['a.jpg', '(20, 30)', '(H, W, C)']),
        (dict(gt_masks=BitmapMasks(np.zeros((2, 20, 30), np.uint8), 20, 30)), ['a.jpg', 'gt_masks', 'Expand']),
        (dict(gt_seg_map=np.zeros((20, 30), np.uint8)), ['a.jpg', 'gt_seg_map', 'Expand']),
    ],
)
def test_what_it_does_not_support(change, words):
    results = dict(make_results(20, 30, 2), img_path='a.jpg')
    with pytest.raises(ValueError) as error:
        ExpandMinIoURandomCrop()(dict(results, **change))
    assert all(word in str(error.value) for word in words) and '\n' not in str(error.value)


def test_without_boxes():
    with pytest.raises(ValueError, match=r'a.jpg has no gt_bboxes: .*LoadAnnotations'):
        ExpandMinIoURandomCrop()(dict(img=np.zeros((20, 30, 3), np.uint8), img_path='a.jpg'))
