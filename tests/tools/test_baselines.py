"""The graphs that the benchmarks time find what mmdet and torchvision find."""

from types import ModuleType

import numpy as np
import pytest
import torch
from mmdet.models.detectors import SingleStageDetector
from mmdet.structures import DetDataSample
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmthunder.apis import Agreement
from mmthunder.export.preprocess import preprocess
from mmthunder.runtime import Detections

# Small copies: few channels and layers.
SMALL = {
    'model.backbone.deepen_factor': 0.1,
    'model.backbone.widen_factor': 0.125,
    'model.neck.in_channels': [32, 64, 128],
    'model.neck.out_channels': 16,
    'model.bbox_head.in_channels': 16,
    'model.bbox_head.feat_channels': 16,
    'model.bbox_head.stacked_convs': 1,
}


@pytest.fixture
def baselines(load_tool) -> ModuleType:
    return load_tool('analysis_tools/baselines.py')


@pytest.fixture
def baseline_graphs(load_tool) -> ModuleType:
    return load_tool('analysis_tools/baseline_graphs.py')


@pytest.fixture
def exported(load_tool) -> ModuleType:
    return load_tool('analysis_tools/exported.py')


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def find_things(detector: SingleStageDetector, image: np.ndarray) -> None:
    """Give a detector weights with which it finds objects of several classes and scores in an image of noise."""
    generator = torch.Generator().manual_seed(0)
    # The image sets the statistics, without which the features of random weights fade to nothing.
    for module in detector.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0
    head = detector.bbox_head
    batch = torch.from_numpy(np.stack((image, image[:, ::-1])))
    with torch.no_grad():
        head(detector.train().extract_feat(preprocess(detector.data_preprocessor, batch)))
    detector.eval()
    yolox = hasattr(head, 'multi_level_conv_obj')
    for conv in head.multi_level_conv_cls if yolox else head.rtm_cls:
        nn.init.normal_(conv.weight, std=0.25, generator=generator)
        nn.init.constant_(conv.bias, -2.0)
    for conv in head.multi_level_conv_reg if yolox else head.rtm_reg:
        nn.init.normal_(conv.weight, std=0.1, generator=generator)
        nn.init.constant_(conv.bias, 0.5)
    for conv in head.multi_level_conv_obj if yolox else ():
        nn.init.normal_(conv.weight, std=0.5, generator=generator)
        nn.init.constant_(conv.bias, 3.0)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['yolox_tiny', 'rtmdet_tiny'])
def test_single_stage(baselines, exported, image, name):
    """What the exported graph finds is what mmdet's test_step finds."""
    detector = baselines.build_mmdet(name, {**SMALL, 'model.test_cfg.score_thr': 0.3})
    find_things(detector, image)
    meta = dict(img_shape=(64, 96), ori_shape=(64, 96), scale_factor=(1.0, 1.0), img_id=0)
    inputs = torch.from_numpy(image).permute(2, 0, 1)
    with torch.no_grad():
        (result,) = detector.test_step(dict(inputs=[inputs], data_samples=[DetDataSample(metainfo=meta)]))
    expected = Detections(*(result.pred_instances[key].numpy() for key in ('bboxes', 'scores', 'labels')))
    assert len(expected.scores) > 20 and expected.scores.std() > 0.02 and len(set(expected.labels.tolist())) > 5
    if name == 'rtmdet_tiny':
        assert (expected.boxes == [0, 0, 96, 64]).any(), 'no box is clipped'
    graph = exported.to_graph(detector)
    for backend, call in exported.exported_calls(graph, image[None], ['onnxruntime'], threads=1).items():
        boxes, scores, labels = (output[0] for output in call())
        found = labels >= 0
        assert found.sum() == len(expected.labels), backend
        agreement = Agreement(box_tolerance=0.1)
        agreement.add(expected, Detections(boxes[found], scores[found], labels[found]))
        assert agreement.unmatched == 0, f'{backend}: {agreement}'


@pytest.mark.parametrize('name', ['ssdlite320_mobilenet_v3_large', 'fasterrcnn_mobilenet_v3_large_320_fpn'])
def test_torchvision_settings(baselines, name):
    """The threshold and the number of detections are where torchvision reads them; without, they are its own."""
    for score_thr, max_per_img in ((0.2, 7), (None, None)):
        detector = baselines.build_torchvision(name, 320, score_thr, max_per_img)
        head = detector.roi_heads if hasattr(detector, 'roi_heads') else detector
        own = (0.05, 100) if hasattr(detector, 'roi_heads') else (0.001, 300)
        assert (head.score_thresh, head.detections_per_img) == ((score_thr, max_per_img) if score_thr else own)


def test_torchvision(baselines, baseline_graphs, image):
    """The graph takes OpenCV's bytes, and finds what the detector finds in the same image in RGB from 0 to 1."""
    detector = baselines.build_torchvision('ssdlite320_mobilenet_v3_large', 320, None)
    with torch.no_grad():
        found = baseline_graphs.TorchvisionGraph(detector)(torch.from_numpy(image)[None])
        (expected,) = detector([torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1) / 255])
    assert len(found[0]) > 10
    for value, key in zip(found, ('boxes', 'scores', 'labels')):
        torch.testing.assert_close(value, expected[key])
