import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.testing import demo_mm_inputs
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData

from mmthunder.models import BatchSyncRandomChoiceResize


def at_iteration(iteration: int) -> None:
    MessageHub.get_current_instance().update_info('iter', iteration)


def make_batch(height: int = 64, width: int = 96) -> tuple:
    """Normalised images and their annotations, one box ignored."""
    preprocessor = MODELS.build(dict(type='DetDataPreprocessor', pad_size_divisor=1))
    data = preprocessor(demo_mm_inputs(2, [[3, height, width]] * 2, [3, 0]), True)
    sample = data['data_samples'][0]
    sample.ignored_instances = sample.gt_instances[:1]
    return data['inputs'], data['data_samples']


def drawn_size(resize: BatchSyncRandomChoiceResize, iteration: int) -> int:
    at_iteration(iteration)
    inputs, data_samples = make_batch(32, 32)
    return resize(inputs, data_samples)[0].shape[-1]


def test_masks_are_refused():
    sample = DetDataSample(gt_instances=InstanceData(bboxes=torch.rand(1, 4), masks=torch.ones(1, 8, 8)))
    with pytest.raises(ValueError, match='BatchSyncRandomChoiceResize: the annotations have masks'):
        MODELS.build(dict(type='BatchSyncRandomChoiceResize', sizes=[4]))(torch.rand(1, 3, 8, 8), [sample])


def test_boxes_follow_the_images():
    inputs, data_samples = make_batch()
    boxes = [sample.gt_instances.bboxes.clone() for sample in data_samples]
    inputs, data_samples = BatchSyncRandomChoiceResize([48])(inputs, data_samples)
    assert inputs.shape == (2, 3, 32, 48)
    for sample, before in zip(data_samples, boxes):
        torch.testing.assert_close(sample.gt_instances.bboxes, before / 2)
        assert sample.img_shape == sample.pad_shape == sample.batch_input_shape == (32, 48)
    torch.testing.assert_close(data_samples[0].ignored_instances.bboxes, boxes[0][:1] / 2)
    assert len(data_samples[1].gt_instances) == 0


def test_sides_scale_by_what_they_were_rounded_to():
    inputs, data_samples = make_batch(65, 96)
    before = data_samples[0].gt_instances.bboxes.clone()
    inputs, data_samples = BatchSyncRandomChoiceResize([48])(inputs, data_samples)
    assert inputs.shape[-2:] == (32, 48)
    torch.testing.assert_close(data_samples[0].gt_instances.bboxes, before * torch.tensor([0.5, 32 / 65] * 2))


def test_img_shape_without_the_padding():
    preprocessor = MODELS.build(
        dict(
            type='DetDataPreprocessor',
            pad_size_divisor=1,
            batch_augments=[dict(type='BatchSyncRandomChoiceResize', sizes=[48])],
        )
    )
    data = preprocessor(demo_mm_inputs(2, [[3, 64, 96], [3, 40, 60]]), True)
    assert data['inputs'].shape == (2, 3, 32, 48)
    assert [sample.img_shape for sample in data['data_samples']] == [(32, 48), (20, 30)]


def test_content():
    """What was at (x, y) is at the scaled place."""
    inputs = torch.zeros(1, 3, 64, 64)
    inputs[..., 32:48, 16:32] = 1
    out, _ = BatchSyncRandomChoiceResize([32])(inputs, [])
    assert out[0, 0, 18:22, 10:14].min() > 0.99
    assert out[0, 0, :14].max() < 0.01 and out[0, 0, :, 18:].max() < 0.01


def test_same_size_changes_nothing():
    inputs, data_samples = make_batch()
    boxes = data_samples[0].gt_instances.bboxes.clone()
    out, out_samples = BatchSyncRandomChoiceResize([96])(inputs, data_samples)
    assert out is inputs
    assert torch.equal(out_samples[0].gt_instances.bboxes, boxes)


def test_draws_every_size_and_only_those():
    resize = BatchSyncRandomChoiceResize([16, 24, 40])
    draws = [drawn_size(resize, i) for i in range(60)]
    assert {size: draws.count(size) >= 10 for size in set(draws)} == {16: True, 24: True, 40: True}


def test_draws_depend_on_iteration_and_seed_alone():
    """So the processes of a job agree, and a resumed job with the uninterrupted one."""
    draws = [drawn_size(BatchSyncRandomChoiceResize([16, 24, 40], seed=3), i) for i in range(20)]
    torch.manual_seed(5)
    resize = BatchSyncRandomChoiceResize([16, 24, 40], seed=3)
    assert [drawn_size(resize, i) for i in reversed(range(20))] == draws[::-1]
    other = BatchSyncRandomChoiceResize([16, 24, 40], seed=4)
    assert [drawn_size(other, i) for i in range(20)] != draws


def test_random_state_is_left_alone():
    state = torch.get_rng_state()
    drawn_size(BatchSyncRandomChoiceResize([16, 24]), 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_not_in_tests(tiny_model):
    tiny_model.data_preprocessor.batch_augments = [dict(type='BatchSyncRandomChoiceResize', sizes=[32])]
    preprocessor = MODELS.build(tiny_model.data_preprocessor)
    assert preprocessor(demo_mm_inputs(1, [[3, 64, 64]]), False)['inputs'].shape[-2:] == (64, 64)
    assert preprocessor(demo_mm_inputs(1, [[3, 64, 64]]), True)['inputs'].shape[-2:] == (32, 32)


@pytest.mark.parametrize('sizes', [[], [320, 0]])
def test_invalid_sizes(sizes):
    with pytest.raises(ValueError, match='must be a list of side lengths in pixels'):
        BatchSyncRandomChoiceResize(sizes)
