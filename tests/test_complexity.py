"""Multiply-adds and parameters of the paper's models.

One multiply-add counts as 1, and convolutions and fully connected layers are counted, as in the paper.
"""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from mmthunder.models import SNet


class Maps(nn.Module):
    """Everything before the RoIs: backbone, CEM, RPN and SAM."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, inputs: Tensor) -> tuple:
        feats = self.detector.extract_feat(inputs)
        (cls_score, ), (bbox_pred, ) = self.detector.rpn_head(feats)
        return feats[0], cls_score, bbox_pred


def count_macs(module: nn.Module, *shape: int) -> int:
    counts = FlopAnalyzer(module, torch.zeros(shape)).by_operator()
    return counts['conv'] + counts['linear']


@pytest.mark.parametrize(('name', 'mega_macs', 'parameters'), [
    ('snet49_coco', 261, 1147810),
    ('snet146_coco', 502.5, 1873858),
    ('snet535_coco', 1306, 4660466),
    ('snet49_voc', 249, 1086310),
    ('snet146_voc', 490, 1812358),
    ('snet535_voc', 1294, 4598966),
])
def test_detectors(repo, name, mega_macs, parameters):
    """At 320 px and 200 RoIs."""
    cfg = Config.fromfile(repo / f'configs/thundernet/{name}.py')
    assert cfg.test_cfg.type == 'TestLoop' and cfg.model.test_cfg.rpn.max_per_img == 200
    detector = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    macs = count_macs(Maps(detector), 1, 3, 320, 320)
    macs += count_macs(detector.roi_head.bbox_head, 200, 5, 7, 7)
    assert macs / 1e6 == pytest.approx(mega_macs, rel=0.005)
    assert sum(p.numel() for p in detector.parameters()) == parameters


@pytest.mark.parametrize(('arch', 'mega_macs'), [('49', 51.2), ('146', 162.5), ('535', 539.9)])
def test_backbones(arch, mega_macs):
    """At 224 px, with the classifier of 1000 classes that the paper's numbers include."""
    backbone = SNet(arch, out_indices=(2, )).eval()
    classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(1000))

    class Classifier(nn.Module):

        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = backbone, classifier

        def forward(self, inputs: Tensor) -> Tensor:
            return self.head(self.backbone(inputs)[0])

    model = Classifier()
    model(torch.zeros(1, 3, 32, 32))  # makes the lazy layer
    assert count_macs(model, 1, 3, 224, 224) / 1e6 == pytest.approx(mega_macs, rel=0.005)
