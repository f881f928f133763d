"""Inference: mmdet's ``test_step``, from uint8 images to data samples with boxes of the original image.

Weights are random, so few boxes reach the final NMS.
"""

from typing import Callable, Dict

import pytest
import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.structures import DetDataSample

from mmthunder.apis import load_detector
from mmthunder.tools.analysis_tools.benchmark_latency import detector_call


@pytest.fixture
def detector(config: str) -> TwoStageDetector:
    """The detector in eval mode."""
    return load_detector(config)


@pytest.mark.parametrize(
    ('batch', 'size'), [*((batch, 320) for batch in (1, 2, 4, 8, 16)), *((4, size) for size in (160, 224, 480, 640))]
)
def test_growth(detector, measure, batch, size):
    """Time and memory against the images of a batch and their size."""
    with torch.inference_mode():
        measure(detector_call(detector, [torch.randint(0, 256, (3, size, size), dtype=torch.uint8)] * batch))


def part_calls(detector: TwoStageDetector, image: torch.Tensor) -> Dict[str, Callable[[], object]]:
    """Return calls of ``test_step``, of the bare modules and of each part.

    Args:
        detector (TwoStageDetector): The detector, in eval mode.
        image (Tensor): The image, uint8 with shape (3, H, W).

    Returns:
        dict[str, Callable]: The calls by name. The bare modules are backbone, neck, RPN with its proposals and RoI
        head with its final NMS, called on a normalised tensor.
    """
    shape = tuple(image.shape[1:])
    sample = DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0), img_id=0))
    data = detector.data_preprocessor(dict(inputs=[image], data_samples=[sample]))
    images, samples = data['inputs'], data['data_samples']
    backbone_feats = detector.backbone(images)
    feats = detector.extract_feat(images)
    outputs = detector.rpn_head(feats)
    metas = [sample.metainfo for sample in samples]
    proposals = detector.rpn_head.predict(feats, samples)
    results = detector.roi_head.predict(feats, proposals, samples, rescale=True)

    def bare() -> object:
        feats = detector.extract_feat(images)
        return detector.roi_head.predict(feats, detector.rpn_head.predict(feats, samples), samples, rescale=True)

    return {
        'test_step': detector_call(detector, [image]),
        'bare modules': bare,
        'data preprocessor': lambda: detector.data_preprocessor(dict(inputs=[image], data_samples=[sample])),
        'backbone': lambda: detector.backbone(images),
        'neck': lambda: detector.neck(backbone_feats),
        'extract_feat': lambda: detector.extract_feat(images),
        'RPN convolutions': lambda: detector.rpn_head(feats),
        'proposals from their outputs': lambda: detector.rpn_head.predict_by_feat(*outputs, batch_img_metas=metas),
        'RoI head': lambda: detector.roi_head.predict(feats, proposals, samples, rescale=True),
        'data samples': lambda: detector.add_pred_to_datasample(samples, results),
    }


@pytest.mark.parametrize(
    'part',
    [
        'test_step',
        'bare modules',
        'data preprocessor',
        'backbone',
        'neck',
        'extract_feat',
        'RPN convolutions',
        'proposals from their outputs',
        'RoI head',
        'data samples',
    ],
)
def test_parts(detector, measure, part):
    """The step beside its parts; extract_feat is backbone, neck and, in ThunderNet, RPN trunk and SAM."""
    with torch.inference_mode():
        measure(part_calls(detector, torch.randint(0, 256, (3, 320, 320), dtype=torch.uint8))[part])
