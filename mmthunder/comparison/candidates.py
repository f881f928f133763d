"""Writes the configs of the detectors that are compared."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from mmengine.config import Config

from mmthunder.planning.planning_error import PlanningError
from mmthunder.planning.quiet import quiet
from mmthunder.planning.rules import MAX_VALIDATIONS, choose_iterations
from mmthunder.planning.timing import Timing
from mmthunder.utils.atomic_write import atomic_write

from .comparison_error import ComparisonError
from .peers import PEERS, peer_config, planned_config
from .timed import cached_timing

PLANNED = 'thundernet'
DETECTORS = (PLANNED, *PEERS)
DRAFT_ITERS = 1000  # of the config that is timed


@dataclass(frozen=True)
class Settings:
    """What a comparison is made with.

    Attributes:
        minutes (float): Time of each training.
        batch_size (int, optional): Images of a step of the peers; None takes the plan's.
        pipeline (str): ``'plan'`` or ``'own'``, the peers'.
        lr_scales (Sequence[float]): Factors of the peers' learning rate; each is a training.
        threads (int): Threads of the training process.
    """

    minutes: float
    batch_size: Optional[int] = None
    pipeline: str = 'plan'
    lr_scales: Sequence[float] = (1,)
    threads: int = 1


def read_plan(path: Path) -> Config:
    """Read a planned config.

    Args:
        path (Path): A config that ``tools/make_config.py`` wrote.

    Returns:
        Config: The config.

    Raises:
        ComparisonError: If it is another one.
    """
    try:
        with quiet():
            plan = Config.fromfile(path, import_custom_modules=False)
    except (OSError, SyntaxError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ComparisonError(f'{path}: {error}; give a config of tools/make_config.py') from None
    missing = [
        key
        for key in ('input_size', 'metainfo', 'train_pipeline', 'val_evaluator', 'runner_type')
        if plan.get(key) is None
    ]
    if missing or 'max_iters' not in plan.get('train_cfg', {}):
        missing = missing or ['train_cfg.max_iters']
        raise ComparisonError(f'{path}: has no {", ".join(missing)}; give a config of tools/make_config.py')
    return plan


def count_images(plan: Config, split: str) -> int:
    """Count the images of a split of a plan, ``'train'`` or ``'val'``; ComparisonError if its files are gone."""
    from mmdet.registry import DATASETS
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    try:
        with quiet():
            return len(DATASETS.build(dict(plan[f'{split}_dataloader'].dataset.to_dict(), pipeline=[])))
    except FileNotFoundError as error:
        raise ComparisonError(f'{plan.filename}: {error}; put it back or plan anew with tools/make_config.py') from None


def write_config(path: Path, header: str, delta: Dict[str, Any]) -> None:
    """Write a config; a file that has the same settings is left as it is."""
    text = f'# {header}\n{Config(delta).pretty_text}'
    if not path.exists() or path.read_text(encoding='utf-8') != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text.encode('utf-8'))


def write_candidates(
    path: Path,
    detectors: Sequence[str],
    settings: Settings,
    directory: Path,
    timings: Path,
    report: Callable[[str], None] = print,
    max_iters: Optional[int] = None,
) -> List[Path]:
    """Time the detectors one after another, and write configs whose iterations fill the time.

    Args:
        path (Path): The planned config.
        detectors (Sequence[str]): Some of :data:`DETECTORS`.
        settings (Settings): The settings.
        directory (Path): Directory of the configs.
        timings (Path): JSON file with the timings; new ones are added.
        report (Callable): Takes lines of progress. Defaults to ``print``.
        max_iters (int, optional): Iterations of each, instead of those that fill the time. Defaults to None.

    Returns:
        list[Path]: The configs: ``DETECTOR.py``, and ``DETECTOR_lrSCALE.py`` for other learning rates.

    Raises:
        ComparisonError: If the config is none of a plan, the time is too short, or a training fails.
    """
    plan = read_plan(path)
    images, val_images, configs = count_images(plan, 'train'), count_images(plan, 'val'), []

    def write(name: str, config: Path, iters: int, val_interval: int, lr_scale: float = 1) -> int:
        header = f'{name} for {settings.minutes:g} minutes: written by tools/compare_detectors.py {path}'
        if name == PLANNED:
            write_config(config, header, planned_config(str(path.resolve()), plan, iters, val_interval))
            return plan.train_dataloader.batch_size
        batch = settings.batch_size or plan.train_dataloader.batch_size
        with quiet():
            delta = peer_config(PEERS[name], plan, iters, val_interval, batch, lr_scale, settings.pipeline)
        write_config(config, header, delta)
        return batch

    for name in detectors:
        draft = directory / 'drafts' / f'{name}.py'
        batch = write(name, draft, DRAFT_ITERS, DRAFT_ITERS)
        what = dict(batch_size=batch, input_size=list(plan.input_size), val_images=val_images)
        if name != PLANNED:
            what['pipeline'] = settings.pipeline
        if max_iters:
            iters, val_interval = max_iters, math.ceil(max_iters / MAX_VALIDATIONS)
        else:
            report(f'{name}: timing some steps')
            timing = cached_timing(timings, name, what, draft, settings.threads)
            iters, val_interval, reason = choose_length(name, images, settings.minutes, timing, batch)
            report(f'{name}: {iters} iterations are {reason}')
        for lr_scale in settings.lr_scales if name != PLANNED else (1,):
            suffix = '' if lr_scale == 1 else f'_lr{lr_scale:g}'.replace('.', '_')
            configs.append(directory / f'{name}{suffix}.py')
            write(name, configs[-1], iters, val_interval, lr_scale)
    return configs


def choose_length(name: str, images: int, minutes: float, timing: Timing, batch_size: int) -> Tuple[int, int, str]:
    """Choose the iterations that fill the time, by the planner's rule.

    Args:
        name (str): The detector, for the message.
        images (int): Training images.
        minutes (float): The time.
        timing (Timing): What was measured.
        batch_size (int): Images of a step.

    Returns:
        tuple[int, int, str]: Iterations, those from a validation to the next, and the reason.

    Raises:
        ComparisonError: If the time is too short for an epoch.
    """
    try:
        chosen = {each.name: each for each in choose_iterations(images, minutes, timing, batch_size)}
    except PlanningError as error:
        raise ComparisonError(f'{name}: {error}, or leave it out of --detectors') from None
    return chosen['max_iters'].value, chosen['val_interval'].value, chosen['max_iters'].reason
