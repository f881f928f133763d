"""Random sizes, boxes, batches, class counts and broken weights: results, never crashes."""

import functools
from types import SimpleNamespace
from typing import Callable, List, NamedTuple, Tuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData

from mmthunder.engine import DivergenceHook
from mmthunder.models import PSRoIAlign

# A training step takes a tenth of a second, a damaged file a hundredth.
slow = settings(max_examples=settings.default.max_examples // 4)
KINDS = ('paper', 'release', 'detnet')
CLASS_COUNTS = (1, 2, 80)


@pytest.fixture(scope='module')
def get_model(build_narrow) -> Callable:
    """The function that builds narrow detectors, which keeps them."""

    def build(kind: str, num_classes: int):
        torch.manual_seed(0)
        return build_narrow(kind, num_classes)

    return functools.lru_cache(maxsize=None)(build)


class Image(NamedTuple):
    """Height, width, boxes, and whether the boxes are to be ignored."""

    shape: Tuple[int, int]
    boxes: List[List[float]]
    ignored: bool


SIDES = st.integers(1, 100) | st.sampled_from([1, 15, 16, 17, 32, 33])
# Batch norm needs more than the one cell that stride 32 leaves of less.
TRAINING_SIDES = st.integers(33, 100)
COORDINATES = st.floats(-50, 150, width=32) | st.integers(0, 100).map(float) | st.floats(-1000, 1000, width=32)
BOXES = st.lists(st.lists(COORDINATES, min_size=4, max_size=4), max_size=12)


def batches(sides: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(st.builds(Image, st.tuples(sides, sides), BOXES, st.booleans()), min_size=1, max_size=3)


def make_batch(images: List[Image], num_classes: int) -> dict:
    data_samples = []
    for image in images:
        sample = DetDataSample(metainfo=dict(img_shape=image.shape, ori_shape=image.shape, scale_factor=(1.0, 1.0)))
        corners = torch.tensor(image.boxes).reshape(-1, 2, 2).sort(1).values  # data sets refuse inverted boxes
        boxes = corners.reshape(-1, 4)
        kept = boxes[: len(boxes) // 2] if image.ignored else boxes
        sample.gt_instances = InstanceData(bboxes=kept, labels=torch.arange(len(kept)) % num_classes)
        sample.ignored_instances = InstanceData(bboxes=boxes[len(kept) :])
        data_samples.append(sample)
    inputs = [torch.randint(0, 256, (3, *image.shape), dtype=torch.uint8) for image in images]
    return dict(inputs=inputs, data_samples=data_samples)


@slow
@given(kind=st.sampled_from(KINDS), num_classes=st.sampled_from(CLASS_COUNTS), images=batches(TRAINING_SIDES))
def test_loss(get_model, kind, num_classes, images):
    model = get_model(kind, num_classes).train()
    model.zero_grad()
    torch.manual_seed(1)
    batch = model.data_preprocessor(make_batch(images, num_classes), training=True)
    loss, logs = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    assert all(value.isfinite() for value in logs.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def check_predictions(results: List[DetDataSample], images: List[Image], num_classes: int) -> None:
    assert len(results) == len(images)
    for result, image in zip(results, images):
        instances, (height, width) = result.pred_instances, image.shape
        assert instances.bboxes.shape == (len(instances), 4) and len(instances) <= 100
        assert ((instances.scores > 0) & (instances.scores <= 1)).all()
        assert ((instances.labels >= 0) & (instances.labels < num_classes)).all()
        limits = torch.tensor([width, height] * 2) + 0.01
        assert ((instances.bboxes >= -0.01) & (instances.bboxes <= limits)).all()  # not so of NaN


@slow
@given(kind=st.sampled_from(KINDS), num_classes=st.sampled_from(CLASS_COUNTS), images=batches(SIDES))
def test_predict(get_model, kind, num_classes, images):
    model = get_model(kind, num_classes).eval()
    model.roi_head.test_cfg.score_thr = 0.0  # random weights find everything
    batch = model.data_preprocessor(make_batch(images, num_classes))
    with torch.no_grad():
        results = model(**batch, mode='predict')
    check_predictions(results, images, num_classes)


@slow
@given(
    kind=st.sampled_from(KINDS),
    images=batches(TRAINING_SIDES),
    position=st.integers(0, 10**6),
    value=st.sampled_from([float('nan'), float('inf'), -float('inf'), 1e38, -1e30]),
)
def test_broken_weights(get_model, kind, images, position, value):
    """What is found is finite, and a training with such weights or losses is stopped."""
    model = get_model(kind, 2)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    tensors = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
    tensor = tensors[position % len(tensors)].view(-1)
    tensor[position % len(tensor)] = value
    try:
        torch.manual_seed(1)
        data = make_batch(images, 2)
        with torch.no_grad():
            results = model.eval()(**model.data_preprocessor(data), mode='predict')
            check_predictions(results, images, 2)
            batch = model.data_preprocessor(data, training=True)
            _, logs = model.train().parse_losses(model(**batch, mode='loss'))
        finite = all(loss.isfinite() for loss in logs.values()) and all(
            tensor.isfinite().all() for tensor in model.state_dict().values()
        )
        runner = SimpleNamespace(model=model, iter=0, message_hub=MessageHub.get_instance('broken'))
        if finite:
            DivergenceHook().after_train_iter(runner, 0, outputs=logs)
        else:
            with pytest.raises(FloatingPointError, match='training has diverged'):
                DivergenceHook().after_train_iter(runner, 0, outputs=logs)
    finally:
        model.load_state_dict(before)


@given(
    size=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    rois=st.lists(st.tuples(st.integers(0, 2), st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4))),
    output_size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    sampling_ratio=st.integers(1, 3),
    pool_mode=st.sampled_from(['avg', 'max']),
    aligned=st.booleans(),
    min_size=st.sampled_from([0.0, 0.1]),
)
def test_rois(size, rois, output_size, sampling_ratio, pool_mode, aligned, min_size):
    """Features of any box are averages or maxima of the map's values, or of 0 beside it, and so are gradients."""
    num_imgs, height, width = size
    torch.manual_seed(0)
    feat = torch.rand(num_imgs, 2 * output_size[0] * output_size[1], height, width, requires_grad=True)
    rois = torch.tensor([[image % num_imgs, *box] for image, box in rois]).reshape(-1, 5)
    pooled = PSRoIAlign(output_size, 1 / 16, sampling_ratio, pool_mode, aligned, min_size)(feat, rois)
    assert pooled.shape == (len(rois), 2, *output_size)
    assert ((pooled >= 0) & (pooled <= feat.max() + 1e-6)).all()
    pooled.sum().backward()
    # A bin's weights sum up to 1 at most.
    assert (feat.grad >= 0).all() and feat.grad.sum() <= pooled.numel() * (1 + 1e-4)
