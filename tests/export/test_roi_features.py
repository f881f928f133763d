import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor

from mmthunder.export.roi_features import roi_features


def flatten(boxes: Tensor) -> Tensor:
    """(N, R, 4) -> (N * R, 5), with the number of the image."""
    images = torch.arange(len(boxes), dtype=boxes.dtype)[:, None, None].expand(*boxes.shape[:2], 1)
    return torch.cat((images, boxes), 2).flatten(0, 1)


@pytest.fixture
def boxes() -> Tensor:
    """Of two images of 176x144 px, with a box in a corner, a point, and boxes in part and fully outside."""
    corner = torch.rand(2, 20, 2) * 100
    boxes = torch.cat((corner, corner + torch.rand(2, 20, 2) * 60), -1)
    boxes[:, :5] = torch.tensor(
        [[0.0, 0, 176, 144], [50, 50, 50, 50], [-30, -30, 40, 60], [150, 120, 220, 200], [300, 300, 350, 350]]
    )
    return boxes


@pytest.mark.parametrize('pool_mode', ['avg', 'max'])
@pytest.mark.parametrize('options', [dict(), dict(aligned=False, min_size=0.1), dict(sampling_ratio=3)], ids=str)
@pytest.mark.parametrize(('bins', 'cells'), [((7, 7), (9, 11)), ((3, 2), (9, 11)), ((3, 2), (1, 11)), ((3, 2), (9, 1))])
def test_ps_roi_align(boxes, pool_mode, options, bins, cells):
    extractor = MODELS.build(
        dict(
            type='PSRoIExtractor',
            roi_layer=dict(type='PSRoIAlign', output_size=bins, pool_mode=pool_mode, **options),
            out_channels=5,
            featmap_strides=[16],
        )
    )
    feat = torch.randn(2, 5 * bins[0] * bins[1], *cells)
    expected = extractor((feat,), flatten(boxes))
    pooled = roi_features(extractor, (feat,), boxes)
    assert pooled.shape == (40, 5, *bins)
    torch.testing.assert_close(pooled, expected, atol=2e-5, rtol=1e-5)
    if not options:
        assert not pooled.view(2, 20, -1)[:, 4].any()


@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
def test_pyramid(boxes, sampling_ratio, aligned):
    extractor = MODELS.build(
        dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=sampling_ratio, aligned=aligned),
            out_channels=4,
            featmap_strides=[4, 8, 16],
            finest_scale=20,
        )
    )
    feats = [torch.randn(2, 4, 144 // stride, 176 // stride) for stride in (4, 8, 16)]
    assert set(extractor.map_roi_levels(flatten(boxes), 3).tolist()) == {0, 1, 2}
    expected = extractor(feats, flatten(boxes))
    pooled = roi_features(extractor, feats, boxes)
    torch.testing.assert_close(pooled, expected, atol=2e-5, rtol=1e-5)
