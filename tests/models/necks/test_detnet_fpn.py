"""DetNet's wiring of FPN (paper section on the detector, Figure 2 E), which is mmdet's own FPN."""

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config
from torch import Tensor, nn

from mmthunder.models import DetNet

STRIDES = (4, 8, 16, 16, 16)


@pytest.fixture(scope='module')
def model(load, repo) -> Config:
    return load(repo / 'configs/detnet/faster-rcnn_detnet59_fpn_8xb2-180k_coco.py').model


def make_feats(channels: list, size: tuple) -> list:
    return [torch.randn(2, c, *(-(-side // stride) for side in size)) for c, stride in zip(channels, STRIDES)]


def enlarge(x: Tensor, size: torch.Size) -> Tensor:
    """Nearest neighbour by indexing."""
    rows, columns = (torch.arange(new) * old // new for new, old in zip(size, x.shape[-2:]))
    return x[:, :, rows][:, :, :, columns]


def conv(module: nn.Module, x: Tensor) -> Tensor:
    return nn.functional.conv2d(x, module.conv.weight, module.conv.bias, padding=module.conv.padding)


@pytest.mark.parametrize('size', [(64, 96), (104, 72), (65, 97), (16, 400)])
def test_maps_of_equal_stride_are_summed(model, size):
    """Identical values, not close ones: nothing is interpolated between the stages of stride 16."""
    fpn = MODELS.build(dict(model.neck, in_channels=[8, 12, 16, 16, 16], out_channels=6))
    fpn.init_weights()
    feats = make_feats([8, 12, 16, 16, 16], size)
    c2, c3, c4, c5, c6 = (conv(lateral, x) for lateral, x in zip(fpn.lateral_convs, feats))
    merged5 = c5 + c6
    merged4 = c4 + merged5
    merged3 = c3 + enlarge(merged4, c3.shape[-2:])
    merged2 = c2 + enlarge(merged3, c2.shape[-2:])
    expected = [conv(m, x) for m, x in zip(fpn.fpn_convs, (merged2, merged3, merged4, merged5, c6))]
    outs = fpn(feats)
    assert len(outs) == len(expected) == 5
    assert all(torch.equal(out, wanted) for out, wanted in zip(outs, expected))


def test_config_fits_the_backbone(model):
    backbone = {**model.backbone, 'init_cfg': None}
    assert backbone.pop('type') == 'DetNet'
    with torch.device('meta'):
        feats = DetNet(**backbone)(torch.empty(1, 3, 64, 96))
        outs = MODELS.build(model.neck)(feats)
    assert model.neck.in_channels == [x.shape[1] for x in feats]
    assert [tuple(x.shape) for x in outs] == [(1, 256, 64 // s, 96 // s) for s in STRIDES]
    # RoI features come from P2 to P5; a stride other than the map's would read other places.
    assert tuple(model.roi_head.bbox_roi_extractor.featmap_strides) == STRIDES[:4]


def test_anchors_of_32_to_512_px(model):
    generator = TASK_UTILS.build(model.rpn_head.anchor_generator)
    assert tuple(generator.strides) == tuple((s, s) for s in STRIDES)
    for anchors, side in zip(generator.base_anchors, (32, 64, 128, 256, 512)):
        size = anchors[:, 2:] - anchors[:, :2]
        torch.testing.assert_close(size.prod(1), torch.full((3,), float(side**2)))
        torch.testing.assert_close(size[:, 1] / size[:, 0], torch.tensor([0.5, 1.0, 2.0]))


@pytest.mark.parametrize(
    ('name', 'strides'),
    [
        ('faster-rcnn_detnet59-no-proj_fpn_8xb2-180k_coco', STRIDES),
        ('faster-rcnn_detnet59-stage5_fpn_8xb2-180k_coco', (4, 8, 16, 16, 32)),
        ('faster-rcnn_r50-dilated_fpn_8xb2-180k_coco', (4, 8, 16, 16, 32)),
        ('../faster-rcnn_r50_fpn_8xb2-180k_coco', (4, 8, 16, 32, 64)),
    ],
)
def test_ablations_have_the_maps_that_their_anchors_expect(load, repo, name, strides):
    cfg = load(repo / f'configs/detnet/ablations/{name}.py').model
    cfg.backbone.init_cfg = None
    with torch.device('meta'):
        outs = MODELS.build(cfg.neck)(MODELS.build(cfg.backbone)(torch.empty(1, 3, 128, 192)))
    generator = TASK_UTILS.build(cfg.rpn_head.anchor_generator)
    assert tuple(generator.strides) == tuple((s, s) for s in strides)
    assert [tuple(x.shape[-2:]) for x in outs] == [(128 // s, 192 // s) for s in strides]
    assert [round(float(a[1, 2] - a[1, 0])) for a in generator.base_anchors] == [32, 64, 128, 256, 512]
    assert tuple(cfg.roi_head.bbox_roi_extractor.featmap_strides) == strides[:4]
