"""mmdet's light detectors, and how their training is scaled to a short one."""

from dataclasses import dataclass
from typing import List, Tuple

from mmengine.config import Config
from mmengine.hub import get_config

from mmthunder.planning.rules import LR, LR_OF_RANDOM_WEIGHTS

from .schedule import scale_schedule

COCO_IMAGES = 118287  # which mmdet's configs train on
WARM_UP = 0.05  # of the iterations; the shares of mmdet's configs, 0.2 to 2 %, would be a few iterations
LAST_STAGE = 0.1  # of the iterations are without mosaic; of mmdet's configs 5 and 7 %


@dataclass(frozen=True)
class Peer:
    """A detector of mmdet's model zoo.

    Attributes:
        config (str): Its config in mmdet.
        batch_size (int): Images of a step of that config, on all of its GPUs.
        repeats (int): Passes over the images in an epoch of that config.
        augmentation (str): Key of :data:`AUGMENTATIONS`.
    """

    config: str
    batch_size: int
    repeats: int
    augmentation: str

    def load(self) -> Config:
        """Read mmdet's config."""
        return get_config(self.base)

    @property
    def base(self) -> str:
        """The config as a base of others."""
        return f'mmdet::{self.config}'


PEERS = dict(
    yolox_nano=Peer('yolox/yolox_nano_8xb8-300e_coco.py', 64, 1, 'yolox'),
    yolox_tiny=Peer('yolox/yolox_tiny_8xb8-300e_coco.py', 64, 1, 'yolox'),
    rtmdet_tiny=Peer('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', 256, 1, 'rtmdet'),
    ssdlite_mobilenetv2=Peer('ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py', 192, 5, 'ssd'),
)


def scale_ema(hook: dict, share: float) -> dict:
    """Scale mmdet's ``ExpMomentumEMA`` to a shorter training.

    Its average then reaches over the same share of the training as in mmdet's config: with a momentum for 500,000
    steps it would in a thousand steps hardly differ from the last weights, or from the first if it were constant.

    Args:
        hook (dict): The ``EMAHook`` of mmdet's config.
        share (float): Steps of the training, of those of mmdet's config.

    Returns:
        dict: The hook.
    """
    return dict(hook, momentum=min(hook['momentum'] / share, 0.5), gamma=max(round(hook.get('gamma', 2000) * share), 1))


def ssd_anchors(size: Tuple[int, int]) -> dict:
    """Scale SSDLite's anchors, which mmdet's config gives for 320 px, to another input size.

    Args:
        size (tuple[int, int]): Width and height in pixels.

    Returns:
        dict: Arguments of ``SSDAnchorGenerator``: strides that fill the input on each level, and sizes.
    """
    maps = [[side // 16 for side in size]]
    for _ in range(5):
        maps.append([-(-side // 2) for side in maps[-1]])
    scale = (size[0] * size[1]) ** 0.5 / 320
    return dict(
        strides=[(size[0] / width, size[1] / height) for width, height in maps],
        min_sizes=[round(side * scale) for side in (48, 100, 150, 202, 253, 304)],
        max_sizes=[round(side * scale) for side in (100, 150, 202, 253, 304, 320)],
    )


def _yolox(size: Tuple[int, int], base: Config) -> Tuple[List[dict], List[dict]]:
    """YOLOX's, with the cache of RTMDet's mosaic in place of reading four images for each."""
    width, height = size
    return [], [
        dict(type='CachedMosaic', img_scale=size, pad_val=114.0),
        dict(type='RandomAffine', scaling_ratio_range=(0.5, 1.5), border=(-width // 2, -height // 2)),
        dict(type='YOLOXHSVRandomAug'),
    ]


def _rtmdet(size: Tuple[int, int], base: Config) -> Tuple[List[dict], List[dict]]:
    width, height = size
    return [], [
        dict(type='CachedMosaic', img_scale=size, pad_val=114.0, max_cached_images=20, random_pop=False),
        dict(type='RandomResize', scale=(2 * width, 2 * height), ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=size),
        dict(type='YOLOXHSVRandomAug'),
        dict(type='Pad', size=size, pad_val=dict(img=(114, 114, 114))),
        dict(
            type='CachedMixUp',
            img_scale=size,
            ratio_range=(1.0, 1.0),
            max_cached_images=10,
            random_pop=False,
            pad_val=(114, 114, 114),
            prob=0.5,
        ),
    ]


def _ssd(size: Tuple[int, int], base: Config) -> Tuple[List[dict], List[dict]]:
    pipeline = base.train_dataloader.dataset.dataset.pipeline
    chosen = {step.type: step.to_dict() for step in pipeline}
    return [chosen['Expand'], chosen['MinIoURandomCrop']], [chosen['PhotoMetricDistortion']]


# Transforms of mmdet's configs before and after the plan's Resize.
AUGMENTATIONS = dict(yolox=_yolox, rtmdet=_rtmdet, ssd=_ssd)


def own_pipeline(peer: Peer, base: Config, plan: Config) -> List[dict]:
    """Return the plan's training pipeline with the peer's own augmentation in it.

    Args:
        peer (Peer): The peer.
        base (Config): Its config in mmdet.
        plan (Config): The planned config.

    Returns:
        list[dict]: The pipeline. Images are stretched before the mosaic, so that they come as in testing.
    """
    steps = [step.to_dict() for step in plan.train_pipeline]
    before, after = AUGMENTATIONS[peer.augmentation](tuple(plan.input_size), base)
    resize = [step['type'] for step in steps].index('Resize')
    rest = steps[resize + 1 :]
    if before or after:  # its own photometric distortion replaces the plan's
        rest = [step for step in rest if step['type'] != 'PhotoMetricDistortion']
    return [*steps[:resize], *before, steps[resize], *after, *rest]


def peer_config(
    peer: Peer,
    plan: Config,
    iters: int,
    val_interval: int,
    batch_size: int,
    lr_scale: float = 1,
    pipeline: str = 'plan',
) -> dict:
    """Make a config of a peer: mmdet's, for the data, classes, input size and time of a plan.

    - The learning rate is mmdet's times the square root of the batch size over mmdet's. For SGD a proportional one is
      usual, which a short training with small batches cannot do much with.
    - The schedule has the shape of mmdet's over the iterations, but for a warm-up of :data:`WARM_UP`.
    - EMA: see :func:`scale_ema`.
    - YOLOX's random input sizes are left out: the input has the plan's size throughout.
    - All weights begin at random.

    Args:
        peer (Peer): The peer.
        plan (Config): The planned config.
        iters (int): Iterations.
        val_interval (int): Iterations from a validation to the next.
        batch_size (int): Images of a step.
        lr_scale (float): Further factor of the learning rate. Defaults to 1.
        pipeline (str): ``'plan'`` trains with the plan's pipeline, ``'own'`` with mmdet's augmentation until the last
            tenth of the iterations. Defaults to ``'plan'``.

    Returns:
        dict: What the config has beside mmdet's.
    """
    base = peer.load()
    epochs = base.train_cfg.max_epochs
    lr_factor = (batch_size / peer.batch_size) ** 0.5 * lr_scale
    share = iters * peer.batch_size / (COCO_IMAGES * epochs * peer.repeats)
    last_stage = dict(type='LastStageHook', begin=round(iters * (1 - LAST_STAGE)))
    own = pipeline == 'own'
    switches = ('YOLOXModeSwitchHook', 'PipelineSwitchHook')
    hooks, has_last_stage = [], False
    for hook in base.get('custom_hooks', []):
        hook = hook.to_dict()
        if hook['type'] in switches:
            has_last_stage = True
        else:
            hooks.append(scale_ema(hook, share) if hook['type'] == 'EMAHook' else hook)
    train_dataloader = dict(plan.train_dataloader.to_dict(), batch_size=batch_size)
    if own:
        train_dataloader['dataset']['pipeline'] = own_pipeline(peer, base, plan)
        if has_last_stage:
            last_stage['pipeline'] = [step.to_dict() for step in plan.train_pipeline]
    if has_last_stage:
        hooks.append(last_stage)
    model = dict(bbox_head=dict(num_classes=len(plan.metainfo.classes)))
    if base.model.data_preprocessor.get('batch_augments'):
        model['data_preprocessor'] = dict(batch_augments=None)
    if (base.model.backbone.get('init_cfg') or {}).get('type') == 'Pretrained':
        model['backbone'] = dict(init_cfg=None)
    if peer.augmentation == 'ssd':
        # mmdet's own head stops at the first validation.
        model['bbox_head']['type'] = 'PredictingSSDHead'
        model['bbox_head']['anchor_generator'] = ssd_anchors(tuple(plan.input_size))
    data = {
        key: dict(plan[key].to_dict(), _delete_=True)
        for key in ('val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator')
    }
    return dict(
        _base_=[peer.base],
        input_size=tuple(plan.input_size),
        custom_imports=plan.custom_imports.to_dict(),
        runner_type=plan.runner_type,
        model=model,
        train_dataloader=dict(train_dataloader, _delete_=True),
        **data,
        train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=iters, val_interval=val_interval),
        optim_wrapper=dict(optimizer=dict(lr=base.optim_wrapper.optimizer.lr * lr_factor)),
        param_scheduler=scale_schedule(
            [scheduler.to_dict() for scheduler in base.param_scheduler],
            epochs,
            iters,
            lr_factor,
            max(round(iters * WARM_UP), 1),
        ),
        default_hooks=dict(
            logger=plan.default_hooks.logger.to_dict(),
            checkpoint=dict(plan.default_hooks.checkpoint.to_dict(), interval=val_interval),
        ),
        log_processor=plan.log_processor.to_dict(),
        custom_hooks=hooks,
        randomness=plan.randomness.to_dict(),
    )


def planned_config(path: str, plan: Config, iters: int, val_interval: int) -> dict:
    """Make the planned config with other iterations, and like its peers from random weights, with the rate for them.

    Args:
        path (str): Absolute path of the planned config.
        plan (Config): The planned config.
        iters (int): Iterations.
        val_interval (int): Iterations from a validation to the next.

    Returns:
        dict: What the config has beside the planned one.
    """
    random_weights = {}
    if plan.model.backbone.get('init_cfg'):
        lr = plan.optim_wrapper.optimizer.lr * LR_OF_RANDOM_WEIGHTS / LR
        random_weights = dict(model=dict(backbone=dict(init_cfg=None)), optim_wrapper=dict(optimizer=dict(lr=lr)))
    return dict(
        _base_=[path],
        **random_weights,
        train_cfg=dict(max_iters=iters, val_interval=val_interval),
        param_scheduler=scale_schedule(
            [scheduler.to_dict() for scheduler in plan.param_scheduler], plan.train_cfg.max_iters, iters
        ),
        default_hooks=dict(checkpoint=dict(interval=val_interval)),
    )
