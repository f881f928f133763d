import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import mmdet
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

CONFIGS_ROOT = Path(__file__).resolve().parents[1] / 'configs'
# Configs of users' own data lie beside the directories.
CONFIGS = sorted(path for path in CONFIGS_ROOT.glob('*/**/*.py') if '_base_' not in path.parts)
# Short names, each of which inherits the config of a full name.
ALIASES = {
    'snet49_coco': 'thundernet_snet49_4xb16-375k_coco',
    'snet146_coco': 'thundernet_snet146_4xb16-375k_coco',
    'snet49_shapes': 'thundernet_snet49_1xb8-5e_shapes',
    'snet49_bccd': 'thundernet_snet49_1xb8-80e_bccd',
}
PRETRAINING = [path for path in CONFIGS if path.parent.name == 'pretrain']
CLASSIFIERS = [path for path in PRETRAINING if 'distilled' not in path.stem]
DETECTORS = [path for path in CONFIGS if path not in PRETRAINING and path.stem not in ALIASES]
PAPER = [
    f'thundernet_{backbone}_4xb16-{training}'
    for backbone in ('snet49', 'snet146', 'snet535')
    for training in ('375k_coco', '62k5_voc0712')
]
SIZE = 96  # px, of the images that the models see here

models_that_ran = set()


def shrink(cfg: Config) -> None:
    """Drop pretrained weights and set one small size of multi-scale training."""
    cfg.model.backbone.init_cfg = None
    for augment in cfg.model.data_preprocessor.get('batch_augments') or []:
        augment.sizes = [SIZE]
    # Fewer RoIs are as good a test and spare the heads of 26 million weights.
    cfg.model.train_cfg.rcnn.sampler.num = 64
    cfg.model.test_cfg.rpn.max_per_img = 50


def make_batch(cfg: Config, model: nn.Module, training: bool) -> dict:
    with_mask = cfg.model.get('roi_head', {}).get('mask_head') is not None
    data = demo_mm_inputs(2, [[3, SIZE, SIZE], [3, SIZE, SIZE - 32]], [3, 2], num_classes=2, with_mask=with_mask)
    return model.data_preprocessor(data, training)


def tensors(value) -> list:
    """All tensors in nested containers."""
    if isinstance(value, torch.Tensor):
        return [value]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for child in children for tensor in tensors(child)]


def test_names_are_unique():
    """mmengine names a run's directory after the config's file; mmdet's own names are taken, too."""
    assert len(CONFIGS) >= 8
    names = Counter(path.stem for path in CONFIGS)
    assert [name for name, count in names.items() if count > 1] == []
    mmdet_names = {path.stem for path in (Path(mmdet.__file__).parent / '.mim/configs').rglob('*.py')}
    assert len(mmdet_names) > 100
    assert sorted(set(names) & mmdet_names) == []


def epochs(cfg: Config) -> float:
    """Passes over the training images, of which the data sets of iteration-based schedules have these numbers."""
    dataset, times = cfg.train_dataloader.dataset, 1
    if dataset.type == 'RepeatDataset':
        dataset, times = dataset.dataset, dataset.times
    if 'max_epochs' in cfg.train_cfg:
        return cfg.train_cfg.max_epochs * times
    num_images = dict(VOCDataset=5011 + 11540, CocoDataset=dataset.get('indices') or 117266)
    dataset = dataset.get('datasets', [dataset])[0]
    return cfg.train_cfg.max_iters * cfg.auto_scale_lr.base_batch_size / num_images[dataset.type]


@pytest.mark.parametrize('path', DETECTORS + PRETRAINING, ids=lambda path: path.stem)
def test_name_says_how_it_is_trained(load, path):
    """As mmdet's: model, GPUs x images per GPU, input size where it is not the usual one, schedule, data set."""
    cfg = load(path)
    name = re.fullmatch(
        r'(?P<model>[a-z0-9-]+)(_[a-z0-9-]+)*_(?P<gpus>\d+)xb(?P<batch>\d+)-((?P<px>\d+)px-)?'
        r'(?P<length>\d+(k5)?)(?P<unit>k|e|iter)?_(?P<data>[a-z0-9-]+)',
        path.stem,
    )
    assert name
    models = {'thundernet': 'ThunderNet', 'faster-rcnn': 'FasterRCNN', 'mask-rcnn': 'MaskRCNN'}
    pretrained = 'mmthunder.pretrain.FeatureDistiller' if name['model'].endswith('-distilled') else 'ImageClassifier'
    assert cfg.model.type == models.get(name['model'], pretrained)
    assert cfg.train_dataloader.batch_size == int(name['batch'])
    assert cfg.auto_scale_lr.base_batch_size == int(name['gpus']) * int(name['batch'])
    length = float(name['length'].replace('k', '.'))
    if name['unit'] == 'e':
        assert epochs(cfg) == pytest.approx(length, rel=0.01)
    else:
        assert cfg.train_cfg.max_iters == length * (1 if name['unit'] == 'iter' else 1000)
    if name['px']:
        assert cfg.test_pipeline[1].scale == (int(name['px']), int(name['px']))
    directories = dict(coco6='coco', voc0712='VOCdevkit', bccd='BCCD', in1k='imagenet')
    directories.update({'bccd-crops': 'bccd_crops', 'teacher-views': 'teacher_views'})
    assert cfg.data_root == f'data/{directories.get(name["data"], name["data"])}/'


@pytest.mark.parametrize('path', [path for path in CONFIGS if 'ablations' in path.parts], ids=lambda path: path.stem)
def test_ablations_are_deltas_of_a_few_lines(path):
    """A comment that says what differs, one base and the difference."""
    lines = path.read_text().splitlines()
    assert len(lines) <= 15 and lines[0].startswith('# ')
    (base,) = (line for line in lines if line.startswith('_base_ = '))
    assert base.startswith("_base_ = '.")


@pytest.mark.parametrize(('short', 'name'), ALIASES.items())
def test_short_names(load, short, name):
    assert (
        load(CONFIGS_ROOT / f'thundernet/{short}.py').to_dict()
        == load(CONFIGS_ROOT / f'thundernet/{name}.py').to_dict()
    )


@pytest.mark.slow
def test_model_in_a_config_of_mmdets_own(repo, tmp_path):
    """The model's file alone, copied elsewhere, with mmdet's data set, schedule and runtime, trains the same model.

    In a process of its own, which has imported no other part of the package.
    """
    shutil.copy(CONFIGS_ROOT / '_base_/models/thundernet_snet49.py', tmp_path)
    (tmp_path / 'mine.py').write_text(
        "_base_ = ['./thundernet_snet49.py', 'mmdet::_base_/datasets/coco_detection.py',\n"
        "    'mmdet::_base_/schedules/schedule_1x.py', 'mmdet::_base_/default_runtime.py']\n"
        "custom_imports = dict(imports=['mmthunder.models'])\n"
    )
    script = """
import json, sys, torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

cfg = Config.fromfile('mine.py')
init_default_scope(cfg.default_scope)
torch.manual_seed(0)
model = MODELS.build(cfg.model)
text, keys = repr(model), list(model.state_dict())
model = revert_sync_batchnorm(model).train()
before = {name: p.detach().clone() for name, p in model.named_parameters()}
data = demo_mm_inputs(2, [[3, 96, 96], [3, 96, 64]], num_classes=80)
losses = model.train_step(data, build_optim_wrapper(model, cfg.optim_wrapper))
unchanged = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
imported = sorted(name for name in sys.modules if name.startswith('mmthunder.'))
losses = {name: value.item() for name, value in losses.items()}
print(json.dumps(dict(model=text, keys=keys, losses=losses, unchanged=unchanged, imported=imported)))
"""
    run = subprocess.run(
        [sys.executable, '-c', script],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(repo)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = json.loads(run.stdout.splitlines()[-1])
    model = MODELS.build(Config.fromfile(CONFIGS_ROOT / 'thundernet/snet49_coco.py').model)
    assert (result['model'], result['keys']) == (repr(model), list(model.state_dict()))
    assert {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox'} <= result['losses'].keys()
    assert all(math.isfinite(loss) for loss in result['losses'].values())
    assert result['unchanged'] == []
    assert not [name for name in result['imported'] if name.startswith(('mmthunder.engine', 'mmthunder.datasets'))]


def test_custom_imports_are_set_once():
    files = [path for path in CONFIGS_ROOT.rglob('*.py') if 'custom_imports' in path.read_text()]
    assert files == [CONFIGS_ROOT / '_base_/default_runtime.py']


@pytest.mark.parametrize('path', DETECTORS, ids=lambda path: path.stem)
def test_runs(load, path):
    """Builds; loss, predict and tensor mode run, and every trainable parameter gets a gradient."""
    cfg = load(path)
    assert cfg.custom_imports.imports == ['mmthunder.models', 'mmthunder.engine', 'mmthunder.datasets']
    for name in ('train_pipeline', 'test_pipeline'):
        Compose(cfg[name])
    if cfg.model.backbone.type.startswith('mmpretrain.') and importlib.util.find_spec('mmpretrain') is None:
        pytest.skip('needs mmpretrain')
    shrink(cfg)
    key = repr(cfg.model)
    if key in models_that_ran:
        return  # the config differs from another in data, schedule or input size alone
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    build_optim_wrapper(model, cfg.optim_wrapper)

    model.train()
    batch = make_batch(cfg, model, training=True)
    assert max(batch['inputs'].shape[-2:]) <= 128
    losses = tensors({name: loss for name, loss in model(**batch, mode='loss').items() if 'loss' in name})
    loss = sum(value.sum() for value in losses)
    assert torch.isfinite(loss) and loss > 0
    loss.backward()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(trainable) > 0.5 * len(list(model.parameters()))
    assert [name for name, p in trainable.items() if p.grad is None or not p.grad.isfinite().all()] == []
    assert [name for name, p in trainable.items() if not p.grad.any()] == []

    model.eval()
    batch = make_batch(cfg, model, training=False)
    with torch.no_grad():
        results = model(**batch, mode='predict')
        outputs = tensors(model(**batch, mode='tensor'))
    assert len(results) == 2
    for result in results:
        assert isinstance(result, DetDataSample)
        assert result.pred_instances.bboxes.shape == (len(result.pred_instances.scores), 4)
        assert result.pred_instances.bboxes.isfinite().all()
    assert outputs and all(output.isfinite().all() for output in outputs)
    models_that_ran.add(key)


@pytest.mark.parametrize('path', CLASSIFIERS, ids=lambda path: path.stem)
def test_classifier_runs(load, path):
    """Builds with mmpretrain; loss and predict mode run, and every parameter gets a gradient."""
    registry = pytest.importorskip('mmpretrain.registry', reason='needs mmpretrain')
    from mmpretrain.structures import DataSample

    cfg = load(path)
    assert cfg.custom_imports.imports == ['mmthunder.models', 'mmthunder.engine', 'mmthunder.datasets']
    init_default_scope(cfg.default_scope)
    for name in ('train_pipeline', 'test_pipeline'):
        Compose(cfg[name])
    # mmpretrain finds mmdet's classes under their scope alone.
    for hook in (*cfg.default_hooks.values(), *cfg.get('custom_hooks', [])):
        assert registry.HOOKS.get(hook.type) is not None, hook.type
    model = registry.MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    build_optim_wrapper(model, cfg.optim_wrapper)

    samples = [DataSample().set_gt_label(label) for label in (0, 3)]
    data = dict(inputs=torch.randint(0, 256, (2, 3, 64, 64)), data_samples=samples)
    model.train()
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    losses['loss'].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert [name for name, p in model.named_parameters() if not p.grad.any()] == []

    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(data, False), mode='predict')
    assert [result.pred_score.shape for result in results] == [(cfg.model.head.num_classes,)] * 2


@pytest.mark.parametrize('path', DETECTORS, ids=lambda path: path.stem)
def test_class_counts_fit_the_data(load, path):
    """The head has as many classes as the data set."""
    from mmdet.registry import DATASETS

    cfg = load(path)
    dataset = cfg.val_dataloader.dataset
    classes = dataset.get('metainfo', DATASETS.get(dataset.type).METAINFO)['classes']
    heads = cfg.model.roi_head.bbox_head if 'roi_head' in cfg.model else cfg.model.bbox_head
    heads = heads if isinstance(heads, list) else [heads]
    assert [head.num_classes for head in heads] == [len(classes)] * len(heads)


@pytest.mark.parametrize('name', PAPER)
def test_papers_recipe(load, name):
    cfg = load(CONFIGS_ROOT / f'thundernet/{name}.py')
    max_iters = 375000 if name.endswith('coco') else 62500
    assert cfg.train_cfg.max_iters == max_iters
    assert cfg.train_dataloader.batch_size == 16 and cfg.auto_scale_lr.base_batch_size == 16 * 4
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.01, 0.9, 1e-4)
    (steps,) = (scheduler for scheduler in cfg.param_scheduler if scheduler.type == 'MultiStepLR')
    assert steps.milestones == [max_iters // 2, max_iters * 3 // 4] and steps.gamma == 0.1 and not steps.by_epoch
    (augment,) = cfg.model.data_preprocessor.batch_augments
    assert (augment.type, augment.sizes) == ('BatchSyncRandomChoiceResize', [240, 320, 480])
    (resize,) = (step for step in cfg.test_pipeline if step.type == 'Resize')
    assert resize.scale == (320, 320) and not resize.keep_ratio
    assert cfg.model.backbone.arch == name.split('_')[1][len('snet') :]
    assert cfg.model.backbone.norm_cfg.type == cfg.model.sam.norm_cfg.type == 'SyncBN'
    assert cfg.model.rpn_head.norm_cfg.type == 'SyncBN'
    assert cfg.model.train_cfg.rcnn.sampler.type == 'OHEMSampler'
    assert cfg.model.train_cfg.rpn_proposal.max_per_img == 2000 and cfg.model.test_cfg.rpn.max_per_img == 200
    assert cfg.model.test_cfg.rcnn.nms.type == 'soft_nms'


def test_released_detector(load):
    cfg = load(CONFIGS_ROOT / 'thundernet/thundernet_snet146-release_1xb64-400e_coco.py')
    roi_layer, bbox_head = cfg.model.roi_head.bbox_roi_extractor.roi_layer, cfg.model.roi_head.bbox_head
    assert (roi_layer.pool_mode, roi_layer.aligned, roi_layer.min_size) == ('max', False, 0.1)
    assert (roi_layer.output_size, roi_layer.sampling_ratio) == (7, 2)
    assert (bbox_head.num_shared_fcs, bbox_head.fc_out_channels, bbox_head.reg_class_agnostic) == (2, 1024, False)
    sampler, proposals = cfg.model.train_cfg.rcnn.sampler, cfg.model.train_cfg.rpn_proposal
    assert (sampler.type, sampler.num, sampler.pos_fraction) == ('RandomSampler', 512, 0.25)
    assert (proposals.nms_pre, proposals.max_per_img) == (2000, 1000)
    assert (cfg.model.test_cfg.rpn.nms_pre, cfg.model.test_cfg.rpn.max_per_img) == (2000, 200)
    assert cfg.model.test_cfg.rcnn == dict(
        score_thr=0.05, nms=dict(type='soft_nms', iou_threshold=0.5), max_per_img=100
    )
    assert cfg.model.rpn_head.loss_cls.use_sigmoid
    assert cfg.model.data_preprocessor.mean == [123.675, 116.28, 103.53] and cfg.model.data_preprocessor.bgr_to_rgb
    (resize,) = (step for step in cfg.train_pipeline if step.type == 'RandomChoiceResize')
    assert resize.scales == [(240, 240), (360, 360), (480, 480)] and not resize.keep_ratio
    assert cfg.train_cfg.max_epochs * cfg.train_dataloader.dataset.times == 400
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 64
    assert cfg.train_dataloader.dataset.dataset.pipeline == cfg.train_pipeline
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4)
    warmup, steps = cfg.param_scheduler
    assert (warmup.end, warmup.by_epoch) == (500, False)
    assert (steps.milestones, steps.gamma, steps.by_epoch) == ([40, 60], 0.1, True)


@pytest.mark.parametrize('name', ['snet49', 'snet146', 'snet146-release', 'snet535', 'detnet59'])
def test_released_classifier(load, name):
    cfg = load(CONFIGS_ROOT / f'pretrain/{name}_8xb64-300k_in1k.py')
    assert cfg.train_dataloader.batch_size == 64 and cfg.auto_scale_lr.base_batch_size == 8 * 64
    assert cfg.train_cfg.max_iters == 300000
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=4e-5)
    assert cfg.optim_wrapper.paramwise_cfg == dict(norm_decay_mult=0.0, bias_decay_mult=0.0)
    (decay,) = cfg.param_scheduler
    assert (decay.type, decay.start_factor, decay.end_factor, decay.end) == ('LinearLR', 1.0, 0.0, 300000)
    assert cfg.model.head.loss == dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=1000)
    crop, jitter, flip = cfg.train_pipeline[1:-1]
    assert (crop.type, crop.scale, flip.type, flip.prob) == ('RandomResizedCrop', 224, 'RandomFlip', 0.5)
    assert jitter == dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4)
    # The authors' classifier saw the files' BGR values, their detector normalised RGB.
    mean = None if name == 'snet146-release' else [123.675, 116.28, 103.53]
    assert (cfg.data_preprocessor.mean, cfg.data_preprocessor.to_rgb) == (mean, mean is not None)


@pytest.mark.parametrize(
    ('name', 'size', 'sizes'),
    [
        ('thundernet_snet49_4xb16-480px-375k_coco', 480, [360, 480, 720]),
        ('thundernet_snet146_4xb16-224px-375k_coco', 224, [168, 224, 336]),
        ('thundernet_snet535_4xb16-128px-375k_coco', 128, [96, 128, 192]),
        ('thundernet_snet535_4xb16-192px-375k_coco', 192, [144, 192, 288]),
    ],
)
def test_input_sizes(load, name, size, sizes):
    """Training and test sizes in the data loaders; the rest of the pipelines is the base's."""
    cfg = load(CONFIGS_ROOT / f'thundernet/ablations/{name}.py')
    base = load(CONFIGS_ROOT / f'thundernet/{name.replace(f"{size}px-", "")}.py')
    assert cfg.model.data_preprocessor.batch_augments[0].sizes == sizes
    for split, side in (('train', sizes[-1]), ('val', size), ('test', size)):
        pipeline, expected = (c[f'{split}_dataloader'].dataset.pipeline for c in (cfg, base))
        for step in expected:
            if step.type == 'Resize':
                step.scale = (side, side)
        assert pipeline == expected
