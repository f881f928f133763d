"""States of the random number generators in checkpoints, so that resuming repeats the uninterrupted run."""

import os
import random
from typing import Optional

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS
from mmengine.runner import EpochBasedTrainLoop, Runner


def _capture() -> dict:
    """Return the random states of Python, NumPy and torch as tensors and builtins."""
    version, state, gauss = random.getstate()
    name, keys, pos, has_gauss, cached = np.random.get_state()
    return dict(
        python=(version, list(state), gauss),
        numpy=(name, torch.from_numpy(keys.astype(np.int64)), int(pos), int(has_gauss), float(cached)),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    )


def _restore(states: dict) -> None:
    """Set the random states that :func:`_capture` returned."""
    version, state, gauss = states['python']
    random.setstate((version, tuple(state), gauss))
    name, keys, pos, has_gauss, cached = states['numpy']
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), pos, has_gauss, cached))
    torch.set_rng_state(states['torch'].cpu())
    if len(states['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states['cuda']])


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed NumPy and Python in a data worker with torch's seed of that worker.

    mmengine gives a worker the same seed at each start, so that workers that are restarted for each epoch repeat
    their augmentations. torch draws a new seed for each epoch from the main process's random state, which
    :class:`RNGStateHook` restores on resuming.

    Args:
        worker_id (int): Number of the worker; already part of torch's seed.
    """
    # All processes of a job have the same seed; as in mmengine, the rank distinguishes them. A spawned worker is in no
    # process group, but has the launcher's environment variables.
    rank = get_rank() or int(os.environ.get('RANK', 0))
    seed = (torch.initial_seed() + 1000 * rank) % 2**32
    np.random.seed(seed)
    random.seed(seed)


@HOOKS.register_module()
class RNGStateHook(Hook):
    """Save the random states with each checkpoint and restore them on resuming.

    With a fixed seed (``randomness=dict(seed=...)``) and one process a resumed run computes what the
    uninterrupted one does, if

    - training is epoch-based and data workers, if any, use :func:`seed_worker` and are not persistent, or
    - training is iteration-based and has data workers: mmengine then loads the skipped batches once more,
      which restores the state of the workers. Its OneDL fork skips them without loading: the images are those
      of the uninterrupted run, their augmentations are not.

    Validation does not disturb the training's random states.

    In jobs of several processes the states saved are those of the first process.
    """

    priority = 'VERY_HIGH'  # restores the states before another hook draws random numbers

    def __init__(self) -> None:
        self._resumed: Optional[dict] = None
        self._before_val: Optional[dict] = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the training's random states to the checkpoint, also while it validates (``save_best``)."""
        checkpoint['random_state'] = self._before_val or _capture()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read the random states of the checkpoint when training is resumed."""
        states = checkpoint.pop('random_state', None)
        if runner._resume:
            self._resumed = states

    def _restore_resumed(self) -> None:
        if self._resumed is not None:
            _restore(self._resumed)
            self._resumed = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Restore the states before the epoch's data workers are seeded."""
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._restore_resumed()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None) -> None:
        """Restore the states after iteration-based training has advanced its data loader."""
        self._restore_resumed()

    def before_val(self, runner: Runner) -> None:
        """Store the training's random states."""
        self._before_val = _capture()

    def after_val(self, runner: Runner) -> None:
        """Restore the training's random states."""
        if self._before_val is not None:
            _restore(self._before_val)
            self._before_val = None
