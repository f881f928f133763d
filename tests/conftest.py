"""What the tests share."""

import copy
import functools
import gc
import importlib
import itertools
import os
import random
from pathlib import Path
from types import ModuleType
from typing import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import RUNNERS, init_default_scope
from mmengine.runner import Runner
from torch import nn

import mmthunder.datasets  # noqa: F401  registers
import mmthunder.engine  # noqa: F401  registers
import mmthunder.models  # noqa: F401  registers
from mmthunder.apis import load_detector
from mmthunder.planning import planner
from mmthunder.planning.timing import Timing

REPO = Path(__file__).resolve().parents[1]

# One thread, here and in the processes that tests start. The networks of the tests are too small to gain by more, and
# where something else uses a core, threads wait for each other: tests took three times as long. With more threads than
# torch's launcher gives, convolutions may also take other kernels, which round differently.
torch.set_num_threads(1)
os.environ['OMP_NUM_THREADS'] = '1'

# Tests with random cases try a few, the same ones each time, and with --hypothesis-profile=thorough many new ones.
settings.register_profile(
    'few', max_examples=20, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile('thorough', settings.get_profile('few'), max_examples=1500, derandomize=False)
settings.load_profile('few')


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--kills', type=int, default=10, help='kills of the stress test')


def pytest_collection_finish() -> None:
    # mmengine collects garbage when it builds a dataset, which takes longer than a test among all that torch has.
    gc.freeze()


@pytest.fixture(scope='session')
def kills(pytestconfig: pytest.Config) -> int:
    return pytestconfig.getoption('kills')


@pytest.fixture(autouse=True)
def fresh_state() -> None:
    """Quiet logging, mmdet's registries, fixed seeds, and no hub or visualizer of an earlier test."""
    MMLogger.get_current_instance().setLevel('ERROR')
    init_default_scope('mmdet')
    MessageHub._instance_dict.clear()
    DetLocalVisualizer._instance_dict.clear()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache directory instead of the user's."""
    path = tmp_path_factory.mktemp('cache')
    monkeypatch.setenv('MMTHUNDER_CACHE', str(path))
    return path


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """For plans, an idle machine that takes half a second for a step."""
    monkeypatch.setattr(planner, 'time_training', lambda *args, **kwargs: Timing(start=10, step=0.5, val=2))
    monkeypatch.setattr(planner, 'describe_other_load', lambda consequence: '')


@pytest.fixture(scope='session')
def repo() -> Path:
    """The repository's root."""
    return REPO


@pytest.fixture(scope='session')
def load() -> Callable[[Path], Config]:
    """Config.fromfile for tests that look at many configs: each file is read once, which takes up to a second."""
    read = functools.lru_cache(maxsize=None)(Config.fromfile)
    return lambda path: copy.deepcopy(read(path))


@pytest.fixture(scope='session')
def shared() -> Path:
    """Golden files and real images, which not every machine has."""
    directory = REPO.parent / 'shared'
    if not directory.is_dir():
        pytest.skip('needs the directory shared beside the repository')
    return directory


@pytest.fixture(scope='session')
def load_tool() -> Callable[[str], ModuleType]:
    """Import a tool's module by the path of its script below tools/."""
    return lambda path: importlib.import_module(f'mmthunder.tools.{path[:-3].replace("/", ".")}')


@pytest.fixture(scope='session')
def make_shapes(load_tool: Callable[[str], ModuleType]) -> ModuleType:
    return load_tool('misc/make_shapes.py')


@pytest.fixture(scope='session')
def shapes(make_shapes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 8 + 4 small images; tests must not change it."""
    out = tmp_path_factory.mktemp('data') / 'shapes'
    make_shapes.main(['--out', str(out), '--train', '8', '--val', '4', '--size', '96', '--max-objects', '4'])
    return out


@pytest.fixture
def tiny_model(load: Callable[[Path], Config]) -> ConfigDict:
    """A narrow ThunderNet for 6 classes that runs in a fraction of a second; all parts are there."""
    cfg = load(REPO / 'configs/thundernet/snet49_shapes.py')
    backbone = dict(
        _delete_=True,
        type='SNet',
        stem_channels=8,
        stage_channels=(16, 24, 32),
        stage_repeats=(2, 2, 1),
        conv5_channels=40,
    )
    cfg.merge_from_dict(
        {
            'model.backbone': backbone,
            'model.neck.in_channels': [24, 40],
            'model.rpn_head.norm_cfg.type': 'BN',
            'model.sam.norm_cfg.type': 'BN',
            'model.roi_head.bbox_head.fc_out_channels': 64,
        }
    )
    return cfg.model


@pytest.fixture
def tiny_cfg(load: Callable[[Path], Config], tiny_model: ConfigDict, shapes: Path, tmp_path: Path) -> Config:
    """A config whose training takes seconds: the narrow ThunderNet on the small data set, 64 px."""
    cfg = load(REPO / 'configs/thundernet/snet49_shapes.py')
    cfg.model = tiny_model
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.batch_size = 2
        loader.dataset.data_root = f'{shapes}/'
        (resize,) = (step for step in loader.dataset.pipeline if step.type == 'Resize')
        resize.scale = (64, 64)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.ann_file = f'{shapes}/annotations/val.json'
    cfg.work_dir = str(tmp_path / 'work')
    cfg.log_level = 'ERROR'
    return cfg


@pytest.fixture
def build_runner(monkeypatch: pytest.MonkeyPatch) -> Callable[[Config], Runner]:
    """A function that builds the config's runner with a message hub of its own."""
    # mmengine formats the config for every checkpoint and runs compilers to log their versions, which takes
    # longer than the training here.
    for place in ('mmengine.config.config', 'yapf.yapflib.yapf_api'):  # mmengine's, and where its OneDL fork has it
        monkeypatch.setattr(f'{place}.FormatCode', lambda text, **kwargs: (text, True), raising=False)
    monkeypatch.setattr(Runner, '_log_env', lambda *args: None)
    count = itertools.count()

    def build(cfg: Config) -> Runner:
        cfg = copy.deepcopy(cfg)
        # mmengine names its hubs and loggers after the second that a runner was made in.
        DetLocalVisualizer._instance_dict.clear()
        cfg.experiment_name = f'{Path(cfg.work_dir).parent.name}_{next(count)}'
        return RUNNERS.build(cfg)

    return build


@pytest.fixture
def make_detector(tiny_cfg: Config) -> Callable[..., TwoStageDetector]:
    """A function that builds the narrow ThunderNet of 64 px that finds things, with overrides of its config."""

    def make(**options) -> TwoStageDetector:
        cfg = Config(tiny_cfg.to_dict())
        cfg.model.test_cfg.rcnn.nms = dict(type='nms', iou_threshold=0.5)
        cfg.model.test_cfg.rcnn.score_thr = 0.05
        cfg.merge_from_dict({f'model.{key.replace("__", ".")}': value for key, value in options.items()})
        detector = load_detector(cfg)
        head = detector.roi_head.bbox_head
        generator = torch.Generator().manual_seed(1)
        for module, scale in (
            (head.fc_cls, 1.0),
            (head.fc_reg, 0.02),
            (detector.rpn_head.rpn_cls, 0.3),
            (detector.rpn_head.rpn_reg, 0.1),
        ):
            nn.init.normal_(module.weight, std=scale, generator=generator)
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.2, 0.2, generator=generator)
                nn.init.uniform_(module.running_var, 0.5, 1.5, generator=generator)
        return detector

    return make


@pytest.fixture
def faster_rcnn(repo) -> TwoStageDetector:
    """A narrow Faster R-CNN in the layout of DetNet's, for 96x128 px, that finds things in noise."""
    cfg = Config.fromfile(repo / 'configs/detnet/faster-rcnn_detnet59_fpn_1xb4-8e_bccd.py')
    cfg.merge_from_dict(
        {
            'model.backbone.base_channels': 4,
            'model.neck.in_channels': [16, 32, 64, 64, 64],
            'model.neck.out_channels': 16,
            'model.rpn_head.in_channels': 16,
            'model.rpn_head.feat_channels': 16,
            'model.roi_head.bbox_roi_extractor.out_channels': 16,
            'model.roi_head.bbox_head.in_channels': 16,
            'model.roi_head.bbox_head.fc_out_channels': 32,
            'model.test_cfg.rpn': dict(nms_pre=200, max_per_img=60),
        }
    )
    model = MODELS.build(cfg.model).eval()
    generator = torch.Generator().manual_seed(0)
    head = model.roi_head.bbox_head
    for module, scale in (
        (head.fc_cls, 1.0),
        (head.fc_reg, 0.05),
        (model.rpn_head.rpn_cls, 1.0),
        (model.rpn_head.rpn_reg, 0.3),
    ):
        torch.nn.init.normal_(module.weight, std=scale, generator=generator)
    (resize,) = (step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'Resize')
    resize.update(scale=(128, 96), keep_ratio=False)
    model.cfg, model.dataset_meta = cfg, cfg.metainfo
    return model


@pytest.fixture
def images() -> list:
    """Three images of two sizes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((80, 96), (80, 96), (70, 50))]
