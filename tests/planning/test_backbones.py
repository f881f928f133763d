"""Tests of the backbones of planned configs."""

import re
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm

import mmthunder
from mmthunder.planning import PlanningError, plan_config
from mmthunder.planning.backbones import BACKBONES

pytestmark = pytest.mark.usefixtures('measured')


@pytest.mark.parametrize('stride', [8, 16])
@pytest.mark.parametrize('name', BACKBONES)
def test_maps(name, stride, write, tmp_path):
    """The maps of the config's backbone have the strides and channels that the rest of it expects."""
    if name.startswith('shufflenetv2'):
        pytest.importorskip('mmpretrain', reason='needs mmpretrain')
    output = tmp_path / 'planned.py'
    plan_config(write('coco_own'), output, decisions=dict(backbone=name, stride=stride))
    text = output.read_text()
    assert len(text.splitlines()) <= 80 and max(map(len, text.splitlines())) <= 200
    cfg = Config.fromfile(output)
    assert cfg.lr == (0.004 if cfg.model.backbone.get('init_cfg') else 0.008)
    cfg.model.backbone.init_cfg = None
    backbone = revert_sync_batchnorm(MODELS.build(cfg.model.backbone))
    maps = backbone(torch.zeros(2, 3, 64, 96))
    assert [tuple(each.shape[1:]) for each in maps] == [
        (channels, 64 // each, 96 // each) for channels, each in zip(cfg.model.neck.in_channels, (stride, 32))
    ]


@pytest.mark.parametrize(
    ('decisions', 'name'),
    [({}, 'snet49_distilled'), (dict(backbone='snet146_distilled'), 'snet146_distilled')],
    ids=['default', 'snet146'],
)
def test_weights_of_the_package(write, tmp_path, decisions, name):
    plan_config(write('coco_own'), tmp_path / 'planned.py', decisions=decisions)
    backbone = MODELS.build(Config.fromfile(tmp_path / 'planned.py').model.backbone)
    backbone.init_weights()
    (path,) = (Path(__file__).resolve().parents[2] / 'weights').glob(f'{name}-*.pth')
    state = torch.load(path, weights_only=True)['state_dict']
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())


def test_random_weights(write, tmp_path):
    plan_config(write('coco_own'), tmp_path / 'planned.py', decisions=dict(backbone='snet49'))
    assert 'Pretrained' not in (tmp_path / 'planned.py').read_text()
    assert Config.fromfile(tmp_path / 'planned.py').model.backbone.get('init_cfg') is None


def test_published_weights(write, tmp_path):
    """Their address is that of the config of which the backbone is."""
    plan_config(write('coco_own'), tmp_path / 'planned.py', decisions=dict(backbone='mobilenetv2_in1k'))
    published = Config.fromfile(mmthunder.config_path('thundernet_mobilenetv2_in1k_4xb16-375k_coco'))
    assert Config.fromfile(tmp_path / 'planned.py').model.backbone.init_cfg == published.model.backbone.init_cfg


def test_package_is_missing(write, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    with pytest.raises(PlanningError, match=re.escape("pip install 'mmthunder[pretrain]'")):
        plan_config(write('coco_own'), tmp_path / 'planned.py', decisions=dict(backbone='shufflenetv2_in1k'))


def test_no_such_weights():
    with pytest.raises(FileNotFoundError, match='snet50.*snet49_distilled'):
        mmthunder.weights_path('snet50')
