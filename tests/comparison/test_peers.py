"""Tests of the configs of mmdet's light detectors."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmthunder.apis import Agreement
from mmthunder.comparison import PEERS, ComparisonError, peer_config
from mmthunder.comparison.candidates import count_images, write_config
from mmthunder.comparison.peers import planned_config
from mmthunder.runtime import Detections
from mmthunder.tools.analysis_tools.baseline_graphs import SingleStageGraph

WIDTH, HEIGHT = 160, 96
PLAN = """
_base_ = '{base}'
input_size = ({width}, {height})
metainfo = dict(classes=('a', 'b'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=input_size, keep_ratio=False),
    dict(type='RandomFlip', prob=[0.5], direction=['horizontal']),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(metainfo=metainfo, ann_file='train.json', pipeline=train_pipeline))
val_evaluator = dict(ann_file='val.json')
train_cfg = dict(max_iters=100, val_interval=20)
optim_wrapper = dict(optimizer=dict(lr=0.004))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=10),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=10, end=100),
]
"""


@pytest.fixture
def plan(tmp_path: Path) -> Config:
    path = tmp_path / 'plan.py'
    path.write_text(
        PLAN.format(base=Path(__file__).resolve().parents[2] / 'configs/_base_/planned.py', width=WIDTH, height=HEIGHT)
    )
    return Config.fromfile(path)


def written(tmp_path: Path, delta: dict) -> Config:
    write_config(tmp_path / 'written.py', 'a test', delta)
    return Config.fromfile(tmp_path / 'written.py')


def test_moved_data(plan):
    with pytest.raises(ComparisonError, match=r"plan.py: .*'train.json'; .* plan anew with tools/make_config.py"):
        count_images(plan, 'train')


@pytest.mark.parametrize(
    'name, lr, warmup, hooks',
    [
        ('yolox_nano', 0.01 * 0.25 * 2, 'mmdet.QuadraticWarmupLR', {'SyncNormHook', 'EMAHook', 'LastStageHook'}),
        ('rtmdet_tiny', 0.004 * 0.125 * 2, 'LinearLR', {'EMAHook', 'LastStageHook'}),
        (
            'ssdlite_mobilenetv2',
            0.015 * (4 / 192) ** 0.5 * 2,
            'LinearLR',
            {'NumClassCheckHook', 'CheckInvalidLossHook'},
        ),
    ],
)
def test_schedule(tmp_path, plan, name, lr, warmup, hooks):
    cfg = written(tmp_path, peer_config(PEERS[name], plan, 1000, 200, 4, lr_scale=2))
    assert cfg.train_cfg == dict(type='IterBasedTrainLoop', max_iters=1000, val_interval=200)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(lr)
    first, *others = cfg.param_scheduler
    assert first.type == warmup and (first.begin, first.end) == (0, 50)
    assert not any(scheduler.by_epoch for scheduler in cfg.param_scheduler)
    assert others[-1].end == 1000
    for scheduler in others:
        assert scheduler.get('eta_min', 0) <= 0.05 * lr * 1.001
    assert {hook.type for hook in cfg.custom_hooks} == hooks
    for hook in cfg.custom_hooks:
        if hook.type == 'EMAHook':  # an average over some tens of steps, with a warm-up of a few
            assert 10 < 1 / hook.momentum < 100 and hook.gamma < 50
    assert cfg.train_dataloader.batch_size == 4
    assert cfg.train_dataloader.dataset.pipeline == plan.train_pipeline
    assert cfg.val_evaluator.ann_file == 'val.json'
    assert 'Pretrained' not in str(cfg.model)


@pytest.mark.parametrize('name', PEERS)
def test_model(tmp_path, plan, name):
    """Each model trains and predicts on images that are not square; its graph finds what it finds."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    cfg = written(tmp_path, peer_config(PEERS[name], plan, 10, 5, 2))
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0  # the features of random weights fade to nothing unless the images set the statistics
    meta = dict(img_shape=(HEIGHT, WIDTH), ori_shape=(HEIGHT, WIDTH), scale_factor=(1.0, 1.0), img_id=0)
    samples = [DetDataSample(metainfo=meta) for _ in range(2)]
    for sample in samples:
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[20.0, 20.0, 90.0, 70.0]]), labels=torch.tensor([1], dtype=torch.long)
        )
    # Blocks of colour, since networks average noise.
    blocks = torch.randint(0, 256, (2, 3, HEIGHT // 8, WIDTH // 8), dtype=torch.uint8)
    images = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)
    data = dict(inputs=list(images), data_samples=samples)
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert torch.isfinite(loss)
    for conv in model.bbox_head.modules():
        if isinstance(conv, nn.Conv2d) and conv.bias is not None:  # the last layers, whose scores are equal at first
            nn.init.normal_(conv.weight, std=0.1)
            nn.init.zeros_(conv.bias)
    model.eval()
    with torch.no_grad():
        results = model.test_step(data)
        graph = SingleStageGraph(model)(images.permute(0, 2, 3, 1))
    agreement = Agreement(min_score=0.3, box_tolerance=0.1)
    for result, *outputs in zip(results, *graph):
        found, is_real = result.pred_instances, outputs[2] >= 0
        expected = Detections(*(found[key].numpy() for key in ('bboxes', 'scores', 'labels')))
        assert set(expected.labels.tolist()) == {0, 1}
        agreement.add(expected, Detections(*(output[is_real].numpy() for output in outputs)))
    assert agreement.images == 2 and agreement.detections > 40 and not agreement.unmatched, agreement


def test_ssd_anchors_fill_the_input(tmp_path, plan):
    cfg = peer_config(PEERS['ssdlite_mobilenetv2'], plan, 10, 5, 2)
    anchors = cfg['model']['bbox_head']['anchor_generator']
    for (x, y), (columns, rows) in zip(anchors['strides'], [(10, 6), (5, 3), (3, 2), (2, 1), (1, 1), (1, 1)]):
        assert (x * columns, y * rows) == pytest.approx((WIDTH, HEIGHT))


@pytest.mark.parametrize('name, transform', [('yolox_nano', 'CachedMosaic'), ('ssdlite_mobilenetv2', 'Expand')])
def test_own_pipeline(tmp_path, plan, name, transform):
    cfg = written(tmp_path, peer_config(PEERS[name], plan, 100, 20, 4, pipeline='own'))
    names = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    assert transform in names and names.index('RandomFlip') > names.index(transform)
    stage = next((hook for hook in cfg.custom_hooks if hook.type == 'LastStageHook'), None)
    assert (stage is None) == (name == 'ssdlite_mobilenetv2')
    if stage:
        assert stage.begin == 90 and stage.pipeline == plan.train_pipeline


@pytest.mark.parametrize('pretrained', [True, False])
def test_planned(plan, tmp_path, pretrained):
    """The planned detector starts from random weights too, with the learning rate that plans have for them."""
    if pretrained:
        plan.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='backbone.pth')
    plan.dump(tmp_path / 'dumped.py')
    cfg = written(tmp_path, planned_config(str(tmp_path / 'dumped.py'), plan, 200, 40))
    assert cfg.model.backbone.get('init_cfg') is None
    assert cfg.optim_wrapper.optimizer.lr == (0.008 if pretrained else 0.004)
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end == 200
