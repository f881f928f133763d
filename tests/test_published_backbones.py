"""Configs whose backbones start from the ImageNet weights that OpenMMLab publishes."""

from pathlib import Path

import mmdet
import pytest
import torch
import yaml
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import get_external_models

MMDET_CONFIG = Path(mmdet.__file__).parent / '.mim/configs/yolo/yolov3_mobilenetv2_8xb24-ms-416-300e_coco.py'


def count_loaded(cfg: Config, weights: dict, path: Path) -> int:
    """Number of the backbone's tensors that its init_cfg loads from a file with random weights of a layout."""
    torch.manual_seed(0)
    weights = {key: torch.rand_like(value) if value.is_floating_point() else value for key, value in weights.items()}
    torch.save(dict(state_dict=weights), path)
    cfg.init_cfg.checkpoint = str(path)
    backbone = revert_sync_batchnorm(MODELS.build(cfg))
    backbone.init_weights()
    prefix = cfg.init_cfg.get('prefix', '')
    loaded = {prefix + key: value for key, value in backbone.state_dict().items()}
    assert loaded.keys() == {key for key in weights if key.startswith(prefix)}
    return sum(torch.equal(value, weights[key]) for key, value in loaded.items())


def test_shufflenetv2(load, repo, tmp_path):
    """The address and the layout are those of mmpretrain's classifier."""
    mmpretrain = pytest.importorskip('mmpretrain', reason='needs mmpretrain')
    published = Path(mmpretrain.__file__).parent / '.mim/configs/shufflenet_v2'
    cfg = load(repo / 'configs/thundernet/thundernet_shufflenetv2_in1k_4xb16-375k_coco.py').model.backbone
    (model,) = yaml.safe_load((published / 'metafile.yml').read_text())['Models']
    assert cfg.init_cfg.checkpoint == model['Weights']
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        classifier = mmpretrain.registry.MODELS.build(Config.fromfile(published / f'{model["Name"]}.py').model)
    assert count_loaded(cfg, classifier.state_dict(), tmp_path / 'published.pth') == 336


def test_mobilenetv2(load, repo, tmp_path):
    """The address and the layout are those of mmdet's own detector with this backbone."""
    cfg = load(repo / 'configs/thundernet/thundernet_mobilenetv2_in1k_4xb16-375k_coco.py').model.backbone
    published = Config.fromfile(MMDET_CONFIG).model.backbone
    assert cfg.init_cfg == published.init_cfg
    assert cfg.init_cfg.checkpoint.replace('open-mmlab://', '') in get_external_models()
    weights = MODELS.build(published).state_dict()
    assert count_loaded(cfg, weights, tmp_path / 'published.pth') == 312
