import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from torch import nn

from mmthunder.export import TwoStageGraph
from mmthunder.export.unshuffled_stage import UnshuffledStage
from mmthunder.models.backbones import SNet
from mmthunder.models.backbones.snet import SHUFFLES


@pytest.fixture(params=SHUFFLES)
def backbone(request) -> SNet:
    """With stages of 1, 2 and 6 blocks and statistics that differ between channels."""
    backbone = SNet(stem_channels=8, stage_channels=(12, 20, 36), stage_repeats=(1, 2, 6), shuffle=request.param).eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return fuse_conv_bn(backbone)


@torch.no_grad()
def test_same_result(backbone):
    x = torch.randn(2, 8, 33, 24)
    for stage in backbone.stages:
        expected = stage(x)
        unshuffled = UnshuffledStage(stage)
        torch.testing.assert_close(unshuffled(x), expected)
        torch.testing.assert_close(stage(x), expected, rtol=0, atol=0)  # the stage itself is not changed
        # Every channel is handed out once: to the branches what they take, the rest to the output.
        taken = [sum(sizes[r] for sizes in unshuffled.sizes) for r in range(len(unshuffled.sizes[0]))]
        assert taken == [expected.shape[1] // 2] * (len(stage) - 1) + [expected.shape[1]]
        x = expected


def test_in_the_graph(make_detector):
    """Stages with another norm than batch norm stay as they are."""
    stages = TwoStageGraph(make_detector()).detector.backbone.stages
    assert all(isinstance(stage, UnshuffledStage) for stage in stages)
    detector = make_detector(backbone__norm_cfg=dict(type='GN', num_groups=2))
    assert not any(isinstance(stage, UnshuffledStage) for stage in TwoStageGraph(detector).detector.backbone.stages)
