"""Refuse checkpoints that do not fit the model, have diverged, or cannot be resumed from."""

import re
from typing import List, Optional

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def _listing(name: str, keys: List[str]) -> str:
    """Count keys and name the first ones."""
    return f'{len(keys)} {name} ({", ".join(keys[:3])}{", ..." if len(keys) > 3 else ""})' if keys else ''


def describe_misfit(model: nn.Module, checkpoint: dict, max_share: float = 0.0) -> Optional[str]:
    """Describe how a checkpoint differs from a model, or which of its weights are infinite or NaN.

    Args:
        model (nn.Module): The model.
        checkpoint (dict): The checkpoint, or a bare state dict.
        max_share (float): Share of the model's keys that may be missing or have other shapes; keys that
            the model lacks are accepted if it is above 0. Defaults to 0.

    Returns:
        str, optional: The description; None if the checkpoint fits.
    """
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    loaded = checkpoint.get('state_dict', checkpoint)
    found = {re.sub(r'^module\.', '', key): tuple(getattr(value, 'shape', ())) for key, value in loaded.items()}
    missing = [key for key in wanted if key not in found]
    unexpected = [key for key in found if key not in wanted]
    shapes = [
        f'{key}: {found[key]} in the file, {wanted[key]} in the model'
        for key in wanted
        if key in found and found[key] != wanted[key]
    ]
    if len(missing) + len(shapes) <= max_share * len(wanted) and (max_share or not unexpected):
        broken = [key for key, value in loaded.items() if torch.is_tensor(value) and not value.isfinite().all()]
        if broken:
            return (
                f'{_listing("keys are infinite or NaN", broken)}, so that the model finds nothing; take a '
                'checkpoint from before its training diverged'
            )
        return None
    details = '; '.join(
        filter(
            None,
            (
                _listing('keys are missing', missing),
                _listing('keys are unexpected', unexpected),
                _listing('keys have other shapes', shapes),
            ),
        )
    )
    return (
        f'this checkpoint is of another architecture than the config: of {len(wanted)} keys, {details}; use the '
        'config that it was trained with'
    )


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Raise one clear error if a checkpoint is of another model, or has weights that are infinite or NaN.

    mmengine loads the keys that match and logs the others, so that a test with the wrong file reports an AP of 0.
    Testing and resuming need every key; ``load_from``, which starts a fine-tuning, needs at least half of the model's
    keys, so that heads with another number of classes are initialised anew.

    mmengine also resumes from a file without optimizer or schedulers, such as the best checkpoint, and initialises
    these anew. Here, resuming needs all that a training saves.
    """

    priority = 'VERY_HIGH'  # its error comes before those of hooks that load from the checkpoint, such as EMAHook

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare keys and shapes and, on resuming, check that the training state is there.

        Raises:
            ValueError: If the checkpoint does not fit the model, a weight is not finite, or training cannot go on
                from it.
        """
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):  # as mmengine does on loading
            model = model.module
        fine_tuning = runner._train_loop is not None and not isinstance(runner._train_loop, dict) and not runner._resume
        misfit = describe_misfit(model, checkpoint, 0.5 if fine_tuning else 0.0)
        if not misfit and runner._resume:
            needed = ['meta', 'message_hub', 'optimizer', *(['param_schedulers'] if runner.param_schedulers else [])]
            missing = [key for key in needed if key not in checkpoint]
            if missing:
                misfit = (
                    f'this checkpoint has no {" and no ".join(missing)} to resume from; resume from one named '
                    'epoch_ or iter_, or give it as load_from without --resume to start anew from its weights'
                )
        if misfit:
            raise ValueError(f'{runner._load_from}: {misfit}')
