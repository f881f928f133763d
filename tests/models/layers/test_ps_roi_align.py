import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from torch.autograd import gradcheck, gradgradcheck
from torchvision.ops import ps_roi_align as torchvision_ps_roi_align

from mmthunder.models import PSRoIAlign, ps_roi_align

# Pixels at 1/16: inside; at, across and outside each border; the whole map; points, lines and slivers.
BOXES = [
    (20.0, 33.0, 150.0, 170.0),
    (61.7, 12.3, 70.1, 199.9),
    (0.0, 0.0, 40.0, 40.0),
    (-30.0, -50.0, 90.0, 60.0),
    (100.0, 150.0, 400.0, 290.0),
    (-20.0, -20.0, 500.0, 500.0),
    (-90.0, 20.0, -40.0, 60.0),
    (900.0, 900.0, 990.0, 950.0),
    (50.0, -600.0, 90.0, -500.0),
    (80.0, 80.0, 80.0, 80.0),
    (30.0, 40.0, 30.0, 140.0),
    (77.3, 55.5, 78.1, 56.2),
]
# Of negative width and height.
INVERTED = (120.0, 140.0, 70.0, 30.0)


def make_rois(num_imgs: int, boxes=BOXES) -> torch.Tensor:
    """Each box in each image, images unsorted."""
    rois = torch.tensor([(i, *box) for i in range(num_imgs) for box in boxes], dtype=torch.float64)
    return rois[torch.randperm(len(rois))]


def read(plane: np.ndarray, y: float, x: float) -> float:
    """Bilinear value at (y, x): 0 from one cell beyond the border on, the border's own before that."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    top = plane[y0, x0] * (1 - (x - x0)) + plane[y0, x1] * (x - x0)
    bottom = plane[y1, x0] * (1 - (x - x0)) + plane[y1, x1] * (x - x0)
    return top * (1 - (y - y0)) + bottom * (y - y0)


def loop(feat, rois, output_size, spatial_scale, sampling_ratio, pool_mode, aligned, min_size) -> torch.Tensor:
    """PSRoIAlign sample by sample, from its definition."""
    feat, rois = feat.detach().numpy(), rois.detach().numpy()
    p_h, p_w = output_size
    out = np.zeros((len(rois), feat.shape[1] // (p_h * p_w), p_h, p_w))
    for k, c, i, j in np.ndindex(*out.shape):
        x1, y1, x2, y2 = rois[k, 1:] * spatial_scale - (0.5 if aligned else 0.0)
        bin_h, bin_w = max(y2 - y1, min_size) / p_h, max(x2 - x1, min_size) / p_w
        plane = feat[int(rois[k, 0]), (c * p_h + i) * p_w + j]
        samples = [
            read(plane, y1 + (i + (a + 0.5) / sampling_ratio) * bin_h, x1 + (j + (b + 0.5) / sampling_ratio) * bin_w)
            for a in range(sampling_ratio)
            for b in range(sampling_ratio)
        ]
        out[k, c, i, j] = max(samples) if pool_mode == 'max' else sum(samples) / len(samples)
    return torch.from_numpy(out)


@pytest.mark.parametrize('num_imgs', [1, 3])
@pytest.mark.parametrize('output_size', [(7, 7), (3, 3), (2, 5), (1, 1)])
@pytest.mark.parametrize('map_size', [(13, 13), (9, 17), (1, 1), (1, 12), (12, 1)])
def test_average_is_torchvisions(num_imgs, output_size, map_size):
    feat = torch.randn(num_imgs, 2 * output_size[0] * output_size[1], *map_size, dtype=torch.float64)
    rois = make_rois(num_imgs, [*BOXES, INVERTED])
    expected_feat = feat.clone().requires_grad_()
    expected = torchvision_ps_roi_align(expected_feat, rois, output_size, 1 / 16, 2)
    feat.requires_grad_()
    pooled = ps_roi_align(feat, rois, output_size, 1 / 16)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-10)

    weight = torch.randn_like(expected)
    (expected * weight).sum().backward()
    (pooled * weight).sum().backward()
    torch.testing.assert_close(feat.grad, expected_feat.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize('sampling_ratio', [1, 3])
def test_average_is_torchvisions_at_other_sampling(sampling_ratio):
    feat, rois = torch.randn(2, 18, 11, 14, dtype=torch.float64), make_rois(2)
    torch.testing.assert_close(
        ps_roi_align(feat, rois, (3, 3), 1 / 8, sampling_ratio),
        torchvision_ps_roi_align(feat, rois, 3, 1 / 8, sampling_ratio),
        rtol=0,
        atol=1e-10,
    )


def test_average_is_torchvisions_in_float32():
    feat, rois = torch.randn(2, 245, 20, 20), make_rois(2).float()
    torch.testing.assert_close(
        ps_roi_align(feat, rois, (7, 7), 1 / 16), torchvision_ps_roi_align(feat, rois, 7, 1 / 16, 2), rtol=0, atol=2e-5
    )


@pytest.mark.parametrize(
    ('pool_mode', 'aligned', 'min_size'),
    [('max', False, 0.1), ('max', True, 0.0), ('avg', False, 0.1), ('avg', True, 2.5)],
)
@pytest.mark.parametrize(
    ('num_imgs', 'output_size', 'sampling_ratio', 'map_size'),
    [(1, (7, 7), 2, (13, 13)), (3, (3, 2), 2, (9, 14)), (2, (2, 2), 3, (1, 12)), (1, (3, 3), 1, (1, 1))],
)
def test_loop_from_the_definition(pool_mode, aligned, min_size, num_imgs, output_size, sampling_ratio, map_size):
    feat = torch.randn(num_imgs, 2 * output_size[0] * output_size[1], *map_size, dtype=torch.float64)
    args = make_rois(num_imgs), output_size, 1 / 16, sampling_ratio, pool_mode, aligned, min_size
    torch.testing.assert_close(ps_roi_align(feat, *args), loop(feat, *args), rtol=0, atol=1e-10)


@pytest.mark.parametrize('pool_mode', ['avg', 'max'])
@pytest.mark.parametrize(
    ('x', 'expected'),
    [
        (-1.0625, 0.0),
        (-1.0, 3.0),
        (-0.5, 3.0),
        (0.0, 3.0),
        (0.5, 4.0),
        (1.0, 5.0),
        (1.5, 5.0),
        (2.0, 5.0),
        (2.0625, 0.0),
    ],
)
def test_border(pool_mode, x, expected):
    """One sample at x on a map of cells 3, 5."""
    feat = torch.tensor([3.0, 5.0]).view(1, 1, 1, 2)
    rois = torch.tensor([[0.0, x - 0.25, -0.25, x + 0.25, 0.25]])
    for axis_feat, axis_rois in ((feat, rois), (feat.transpose(2, 3), rois[:, [0, 2, 1, 4, 3]])):
        assert ps_roi_align(axis_feat, axis_rois, (1, 1), 1.0, 1, pool_mode, aligned=False).item() == expected


@pytest.mark.parametrize(('pool_mode', 'aligned', 'min_size'), [('avg', True, 0.0), ('max', False, 0.1)])
@pytest.mark.parametrize('num_imgs', [1, 2])
def test_gradients(pool_mode, aligned, min_size, num_imgs):
    feat = torch.randn(num_imgs, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    # Off the cells' centres, where bilinear interpolation has kinks, and with every sample on the map,
    # since the maximum of samples that read the same border cell has one too.
    boxes = torch.tensor([[1.13, 0.87, 4.71, 3.39], [0.61, 1.33, 3.17, 3.87]], dtype=torch.float64, requires_grad=True)
    imgs = torch.tensor([[num_imgs - 1.0], [0.0]], dtype=torch.float64)

    def pool(feat: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        return ps_roi_align(feat, torch.cat((imgs, boxes), 1), (2, 2), 1.0, 2, pool_mode, aligned, min_size)

    assert gradcheck(pool, (feat, boxes))
    try:
        # Along random directions; entry by entry takes as long as all other tests of the file.
        assert gradgradcheck(pool, (feat, boxes), fast_mode=True)
    except RuntimeError as error:
        if 'derivative for aten::grid_sampler_2d_backward is not implemented' not in str(error):
            raise
        pytest.skip('first derivatives are right; this torch has no second derivative of grid_sample')


@pytest.mark.parametrize('num_imgs', [1, 2])
@pytest.mark.parametrize('pool_mode', ['avg', 'max'])
def test_no_rois(num_imgs, pool_mode):
    feat = torch.randn(num_imgs, 18, 5, 6, requires_grad=True)
    pooled = ps_roi_align(feat, torch.zeros(0, 5), (3, 3), 1 / 16, pool_mode=pool_mode)
    assert pooled.shape == (0, 2, 3, 3)
    pooled.sum().backward()
    assert feat.grad.abs().sum() == 0


@pytest.mark.parametrize('pool_mode', ['avg', 'max'])
@pytest.mark.parametrize('without', [0, 1, 2])
def test_an_image_without_rois(without, pool_mode):
    feat = torch.randn(3, 18, 13, 13, dtype=torch.float64, requires_grad=True)
    rois = make_rois(3)
    rois = rois[rois[:, 0] != without]
    pooled = ps_roi_align(feat, rois, (3, 3), 1 / 16, pool_mode=pool_mode)
    torch.testing.assert_close(pooled, loop(feat, rois, (3, 3), 1 / 16, 2, pool_mode, True, 0.0), rtol=0, atol=1e-10)
    pooled.sum().backward()
    used = feat.grad.abs().sum((1, 2, 3)) > 0
    assert used.tolist() == [i != without for i in range(3)]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('pool_mode', ['avg', 'max'])
def test_16_bits(dtype, pool_mode):
    """Only the features and the result are rounded; boxes and sampling are in float32."""
    feat = torch.randn(2, 18, 13, 13, dtype=dtype, requires_grad=True)
    rois = make_rois(2).float()
    pooled = ps_roi_align(feat, rois, (3, 3), 1 / 16, pool_mode=pool_mode)
    assert pooled.dtype == dtype
    assert torch.equal(pooled, ps_roi_align(feat.float(), rois, (3, 3), 1 / 16, pool_mode=pool_mode).to(dtype))
    pooled.sum().backward()
    assert feat.grad.dtype == dtype
    assert feat.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(pool_mode='Max'), "unknown pool_mode 'Max'; use one of"),
        (dict(sampling_ratio=0), 'sampling_ratio 0 must be at least 1'),
    ],
)
def test_invalid_arguments_of_the_function(arguments, message):
    with pytest.raises(ValueError, match=message):
        ps_roi_align(torch.rand(1, 9, 4, 4), torch.zeros(1, 5), (3, 3), 1 / 16, **arguments)


@pytest.mark.parametrize('pool_mode', ['avg', 'max'])
def test_autocast(pool_mode):
    feat, rois = torch.randn(2, 18, 13, 13), make_rois(2).float()
    expected = ps_roi_align(feat, rois, (3, 3), 1 / 16, pool_mode=pool_mode)
    with torch.autocast('cpu', torch.bfloat16):
        pooled = ps_roi_align(feat, rois, (3, 3), 1 / 16, pool_mode=pool_mode)
    assert torch.equal(pooled, expected)


def test_release_golden(shared):
    golden = torch.load(shared / 'golden/release_layout_expected.pth', weights_only=True)
    pool = MODELS.build(
        dict(type='PSRoIAlign', output_size=7, spatial_scale=1 / 16, pool_mode='max', aligned=False, min_size=0.1)
    )
    torch.testing.assert_close(pool(golden['sam'], golden['rois']), golden['pooled'], rtol=1e-4, atol=2e-5)


def test_module_passes_its_arguments():
    feat, rois = torch.randn(2, 12, 13, 13), make_rois(2).float()
    module = PSRoIAlign((2, 3), 1 / 16, sampling_ratio=3, pool_mode='max', aligned=False, min_size=0.5)
    assert torch.equal(module(feat, rois), ps_roi_align(feat, rois, (2, 3), 1 / 16, 3, 'max', False, 0.5))
    assert "output_size=(2, 3), spatial_scale=0.0625, sampling_ratio=3, pool_mode='max'" in repr(module)
    by_default = MODELS.build(dict(type='PSRoIAlign', output_size=2, spatial_scale=1 / 8))
    assert torch.equal(by_default(feat, rois), ps_roi_align(feat, rois, (2, 2), 1 / 8))


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        (dict(pool_mode='sum'), r"unknown pool_mode 'sum'.*'avg', 'max'"),
        (dict(sampling_ratio=0), 'sampling_ratio 0 must be at least 1'),
    ],
)
def test_invalid_arguments(kwargs, match):
    with pytest.raises(ValueError, match=match):
        PSRoIAlign(7, 1 / 16, **kwargs)


def test_channels_that_do_not_fit():
    with pytest.raises(ValueError, match='245 channels are not a multiple of the 6x4 bins'):
        PSRoIAlign((6, 4), 1 / 16)(torch.zeros(1, 245, 4, 4), torch.zeros(1, 5))
