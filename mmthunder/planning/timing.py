"""Times training and validation on this machine, with the config's own runner, pipeline and data workers."""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from typing import List

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .quiet import quiet

WARM_UP = 3  # steps, of which the first allocate memory
MIN_STEPS = 8
NEVER = 10**9  # iterations


@dataclass(frozen=True)
class Timing:
    """What training takes, in seconds.

    Attributes:
        start (float): From the command to the first step.
        step (float): A training step, with waiting for data.
        val (float): A validation of all images, with the computation of AP.
    """

    start: float
    step: float
    val: float


class StepClock(Hook):
    """Notes when each step ends, and stops the training after some time.

    Args:
        seconds (float): After which the training ends, if it has made enough steps.
    """

    priority = 'LOWEST'

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.ends: List[float] = []

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Note the time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        steps = len(self.ends) - WARM_UP
        if steps >= MIN_STEPS and self.ends[-1] - self.ends[WARM_UP - 1] > self.seconds:
            runner.train_loop.stop_training = True


def _import_seconds() -> float:
    """Time how long a fresh process takes to import what a training needs."""
    start = time.perf_counter()
    subprocess.run([sys.executable, '-c', 'import mmdet.apis, mmthunder.engine'], check=True, capture_output=True)
    return time.perf_counter() - start


def time_training(cfg: Config, seconds: float = 20, val_images: int = 24) -> Timing:
    """Run a few steps and part of a validation of a config. Nothing of it is kept.

    Args:
        cfg (Config): An iteration-based config; it is not changed.
        seconds (float): Time for the steps; slow ones take longer. Defaults to 20.
        val_images (int): Images of the part of a validation. Defaults to 24.

    Returns:
        Timing: What was measured.
    """
    begin = time.perf_counter()
    clock = StepClock(seconds)
    with tempfile.TemporaryDirectory() as work_dir, quiet():
        cfg = Config(cfg.to_dict())
        cfg.merge_from_dict(
            dict(
                work_dir=work_dir,
                log_level='ERROR',
                train_cfg=dict(max_iters=NEVER, val_interval=NEVER),
                default_hooks=dict(logger=dict(interval=NEVER), checkpoint=dict(interval=NEVER)),
                visualizer=dict(name=work_dir, vis_backends=[]),  # not that of a later training in this process
            )
        )
        runner = RUNNERS.build(cfg)
        runner.register_hook(clock)
        runner.train()
        step = float(np.diff(clock.ends[WARM_UP - 1 :]).mean())
        start = clock.ends[0] - begin - step
        loop = runner.val_loop
        runner.model.eval()
        count, ends = 0, [time.perf_counter()]
        batches = max(val_images // loop.dataloader.batch_size, 2)
        for index, batch in enumerate(islice(loop.dataloader, batches)):
            loop.run_iter(index, batch)
            count += len(batch['data_samples'])
            ends.append(time.perf_counter())
        # The first batch waits for the workers to start.
        first = ends[1] - ends[0]
        image = (ends[-1] - ends[1]) / (count - loop.dataloader.batch_size) if len(ends) > 2 else first / count
        loop.evaluator.evaluate(len(loop.dataloader.dataset))
        evaluation = time.perf_counter() - ends[-1]
    images = len(loop.dataloader.dataset)
    return Timing(start + _import_seconds(), step, first + image * images + evaluation * images / count)
