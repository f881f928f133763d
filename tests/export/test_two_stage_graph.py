import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

from mmthunder.apis import Agreement, detect
from mmthunder.export import TwoStageGraph
from mmthunder.runtime import Detections

# Each is a head recipe or an ablation; the graph must do what the detector does.
VARIANTS = dict(
    paper=dict(),
    no_sam=dict(sam=None),
    no_glb=dict(neck__use_glb=False),
    full_conv_rpn=dict(rpn_head__depthwise=False, rpn_head__kernel_size=3),
    release=dict(
        roi_head__bbox_head__num_shared_fcs=2,
        roi_head__bbox_head__reg_class_agnostic=False,
        roi_head__bbox_roi_extractor__roi_layer=dict(
            type='PSRoIAlign', output_size=7, pool_mode='max', aligned=False, min_size=0.1
        ),
    ),
    few_proposals=dict(test_cfg__rpn__nms_pre=30, test_cfg__rpn__max_per_img=5),
    few_detections=dict(test_cfg__rcnn__max_per_img=3),
)


def run(graph: TwoStageGraph, images: list, size: tuple = (64, 64)) -> list:
    """What the graph finds in each image, in pixels of the image."""
    inputs = np.stack([cv2.resize(image, size) for image in images])
    with torch.no_grad():
        outputs = graph(torch.from_numpy(inputs))
    results = []
    for image, boxes, scores, labels in zip(images, *(output.numpy() for output in outputs)):
        assert (np.diff(scores) <= 0).all()
        found = labels >= 0
        assert not boxes[~found].any() and not scores[~found].any() and (labels[~found] == -1).all()
        scale = np.array([image.shape[1] / size[0], image.shape[0] / size[1]] * 2, np.float32)
        results.append(Detections(boxes[found] * scale, scores[found], labels[found]))
    return results


@pytest.mark.parametrize('options', VARIANTS.values(), ids=VARIANTS)
def test_detects_what_the_detector_detects(make_detector, images, options):
    detector = make_detector(**options)
    agreement = Agreement(box_tolerance=1e-2, score_tolerance=1e-4)
    for image, found in zip(images, run(TwoStageGraph(detector), images)):
        expected = detect(detector, image)
        assert len(expected.scores) == len(found.scores) > 0
        agreement.add(expected, found)
    assert agreement.images == 3 and agreement.unmatched == 0, str(agreement)


def test_padding(make_detector, images):
    """Images whose sides are no multiples of 32 are padded after normalisation; boxes stay in the image."""
    detector = make_detector()
    (resize,) = (step for step in detector.cfg.test_dataloader.dataset.pipeline if step.type == 'Resize')
    resize.scale = (100, 70)
    agreement = Agreement(box_tolerance=1e-2, score_tolerance=1e-4)
    for image, found in zip(images, run(TwoStageGraph(detector), images, (100, 70))):
        assert (found.boxes >= 0).all() and (found.boxes <= np.tile(image.shape[1::-1], 2) + 1e-3).all()
        agreement.add(detect(detector, image), found)
    assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)


@pytest.mark.parametrize('normalized', [True, False])
@pytest.mark.parametrize('stems', [1, 2])
def test_channel_order(make_detector, images, normalized, stems):
    """The first convolution takes BGR if it is known which one that is; the detector itself stays as it is."""
    detector = make_detector()
    if not normalized:
        detector.data_preprocessor._enable_normalize = False
    if stems > 1:
        detector.backbone.other = nn.Conv2d(3, 8, 1)
    expected = [detect(detector, image) for image in images]
    graph = TwoStageGraph(detector)
    assert graph.detector.data_preprocessor._channel_conversion == (stems > 1)
    agreement = Agreement(box_tolerance=1e-2, score_tolerance=1e-4)
    for first, second in zip(expected, run(graph, images)):
        agreement.add(first, second)
    assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)
    assert detector.data_preprocessor._channel_conversion


def test_nothing_found(make_detector, images):
    boxes, scores, labels = TwoStageGraph(make_detector(test_cfg__rcnn__score_thr=1.0))(
        torch.from_numpy(images[0][None, :64, :64])
    )
    assert boxes.shape == (1, 100, 4) and not boxes.any()
    assert scores.shape == (1, 100) and not scores.any()
    assert labels.shape == (1, 100) and (labels == -1).all() and labels.dtype == torch.int64


def test_faster_rcnn(faster_rcnn):
    """Five levels with NMS of their own, RoIAlign of four levels, boxes of each class."""
    images = [np.random.default_rng(i).integers(0, 256, (96, 128, 3), dtype=np.uint8) for i in range(2)]
    expected = [detect(faster_rcnn, image) for image in images]
    agreement = Agreement(box_tolerance=1e-2, score_tolerance=1e-4)
    for first, second in zip(expected, run(TwoStageGraph(faster_rcnn), images, (128, 96))):
        agreement.add(first, second)
    assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)


def test_unsupported(make_detector, repo):
    with pytest.raises(NotImplementedError, match='test_cfg.rpn.nms'):
        TwoStageGraph(make_detector(test_cfg__rpn__nms=dict(type='soft_nms', iou_threshold=0.7, class_agnostic=True)))
    with pytest.raises(NotImplementedError, match='not a two-stage detector'):
        TwoStageGraph(make_detector().backbone)
    cfg = Config.fromfile(repo / 'configs/detnet/mask-rcnn_detnet59_fpn_8xb2-180k_coco.py').model
    cfg.backbone.update(base_channels=4, init_cfg=None)
    cfg.neck.in_channels = [16, 32, 64, 64, 64]
    with pytest.raises(NotImplementedError, match='mask_head=None'):
        TwoStageGraph(MODELS.build(cfg))
