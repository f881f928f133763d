"""Losses and gradients are finite whatever images and boxes come; inverted boxes do not, as data sets refuse them."""

from typing import Callable, List

import pytest
import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import OPTIM_WRAPPERS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

SHAPES = [(96, 64), (64, 96)]  # height and width of the two images


def noise(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8)


def value(value: int) -> Callable[[int, int], torch.Tensor]:
    return lambda height, width: torch.full((3, height, width), value, dtype=torch.uint8)


def extremes(height: int, width: int) -> torch.Tensor:
    return 255 * torch.randint(0, 2, (3, height, width), dtype=torch.uint8)


def many(count: int) -> List[List[float]]:
    """Boxes of all sizes inside the image and partly outside."""
    corner, size = 64 * torch.rand(count, 2), 60 * torch.rand(count, 2)
    return torch.cat((corner, corner + size), 1).tolist()


ORDINARY = [[5, 8, 40, 50], [20, 20, 50, 60]]
CASES = dict(
    ordinary=(noise, [ORDINARY, ORDINARY]),
    black=(value(0), [ORDINARY, ORDINARY]),
    saturated=(value(255), [ORDINARY, ORDINARY]),
    extremes=(extremes, [ORDINARY, ORDINARY]),
    # mmdet's Resize clips boxes; RoIAlign of DetNet, which samples each pixel, would take hours for 1e5 px.
    boxes_beyond_the_image=(noise, [[[-500, -500, 1000, 1000]], [[-10, -900, 70, 900], [0, 0, 500, 500]]]),
    boxes_without_area=(noise, [[[10, 10, 10, 10], [10, 10, 30, 10]], [[10, 10, 10, 30], [64, 64, 64, 64]]]),
    boxes_outside=(noise, [[[1000, 1000, 1100, 1100]], [[-500, -500, -400, -400], [96, 0, 120, 40]]]),
    one_pixel=(noise, [[[10, 10, 11, 11]], [[0, 0, 1, 1], [95, 63, 96, 64]]]),
    thin_boxes=(noise, [[[0, 10, 64, 10.001]], [[20, 0, 20.5, 64]]]),
    objects_500=(noise, [many(500), many(500)]),
    one_box_500_times=(noise, [ORDINARY[:1] * 500, ORDINARY]),
    no_objects=(noise, [[], []]),
    no_objects_in_one=(value(0), [[], ORDINARY]),
)
NUM_CLASSES = 3


@pytest.fixture(scope='module', params=['paper', 'release', 'detnet'])
def model(request, build_narrow) -> TwoStageDetector:
    torch.manual_seed(0)
    return build_narrow(request.param, NUM_CLASSES)


def make_batch(make_image: Callable, boxes: List[List[List[float]]]) -> dict:
    """What the data loader gives: images and ground truth."""
    data_samples = []
    for shape, image_boxes in zip(SHAPES, boxes):
        sample = DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0)))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(image_boxes).reshape(-1, 4), labels=torch.arange(len(image_boxes)) % NUM_CLASSES
        )
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
        data_samples.append(sample)
    return dict(inputs=[make_image(*shape) for shape in SHAPES], data_samples=data_samples)


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
@pytest.mark.parametrize('case', CASES)
def test_finite(model, case, precision):
    """In a whole step of training; bfloat16 as `--amp` has it."""
    if precision == 'bfloat16' and torch.cuda.is_available():
        pytest.skip('--amp is float16 with a loss scale on CUDA')
    wrapper = dict(type='CPUAmpOptimWrapper' if precision == 'bfloat16' else 'OptimWrapper')
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # the next case starts from the same weights
    wrapper = OPTIM_WRAPPERS.build(wrapper, default_args=dict(optimizer=optimizer))
    torch.manual_seed(1)
    data = make_batch(*CASES[case])
    model.train().zero_grad()
    with wrapper.optim_context(model):
        batch = model.data_preprocessor(data, training=True)
        losses, logs = model.parse_losses(model(**batch, mode='loss'))
    losses.backward()
    assert all(value.isfinite().all() for value in logs.values()), logs
    assert 0 < losses.item() < 100
    grads = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not [name for name, grad in grads.items() if grad is not None and not grad.isfinite().all()]
    assert grads['roi_head.bbox_head.fc_cls.weight'].any()
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
