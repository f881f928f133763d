import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample

from mmthunder.models import InPlaceDetDataPreprocessor

RGB = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)


def run(kind: str, inputs: object, training: bool = False, **options) -> tuple:
    """Preprocess copies of images; returns the batch and what the data samples say."""
    preprocessor = MODELS.build(dict(type=kind, pad_value=7, **options))
    assert isinstance(preprocessor, InPlaceDetDataPreprocessor) == (kind == 'InPlaceDetDataPreprocessor')
    data = preprocessor(dict(inputs=inputs, data_samples=[DetDataSample() for _ in inputs]), training)
    assert set(data) == {'inputs', 'data_samples'}
    return data['inputs'], [sample.metainfo for sample in data['data_samples']]


@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
@pytest.mark.parametrize(
    'options',
    [
        dict(RGB, pad_size_divisor=32),
        dict(RGB, bgr_to_rgb=False),
        dict(mean=[100.0], std=[50.0], pad_size_divisor=8),
        dict(pad_size_divisor=8),
    ],
    ids=['padded', 'bgr', 'one mean', 'not normalised'],
)
def test_equals_mmdets(dtype, options):
    """Bit for bit, for images of different sizes, which stay as they are."""
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8).to(dtype) for size in ((40, 70), (64, 33))]
    copies = [image.clone() for image in images]
    expected, expected_meta = run('DetDataPreprocessor', images, **options)
    inputs, meta = run('InPlaceDetDataPreprocessor', images, **options)
    assert torch.equal(inputs, expected) and inputs.dtype == torch.float32 and inputs.is_contiguous()
    assert meta == expected_meta
    assert all(torch.equal(image, copy) for image, copy in zip(images, copies))


@pytest.mark.parametrize(
    ('inputs', 'options'),
    [
        (torch.randint(0, 256, (2, 3, 40, 70), dtype=torch.uint8), RGB),
        ([torch.randint(0, 256, (1, 40, 70), dtype=torch.uint8)], dict(mean=[100.0], std=[50.0])),
    ],
    ids=['tensor', 'grey'],
)
def test_other_inputs(inputs, options):
    """They go mmengine's way."""
    expected, _ = run('DetDataPreprocessor', inputs, **options)
    assert torch.equal(run('InPlaceDetDataPreprocessor', inputs, **options)[0], expected)


def test_training():
    """Batch augmentations come after it."""
    images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)]
    options = dict(RGB, batch_augments=[dict(type='BatchFixedSizePad', size=(80, 96), pad_mask=False)])
    expected, _ = run('DetDataPreprocessor', images, True, **options)
    inputs, _ = run('InPlaceDetDataPreprocessor', images, True, **options)
    assert inputs.shape == (1, 3, 80, 96) and torch.equal(inputs, expected)


def test_without_data_samples():
    """As `mim run mmdet get_flops` calls it."""
    preprocessor = MODELS.build(dict(type='InPlaceDetDataPreprocessor', **RGB))
    data = preprocessor(dict(inputs=[torch.zeros(3, 8, 8)]))
    assert data['inputs'].shape == (1, 3, 8, 8) and data['data_samples'] is None
