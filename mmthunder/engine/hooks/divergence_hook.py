"""Stop trainings that have diverged before their weights are saved."""

from typing import Optional

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class DivergenceHook(Hook):
    """Stop training at the first loss or weight that is infinite or NaN.

    mmdet's ``CheckInvalidLossHook`` checks losses only, by default every 50th. Even with ``interval=1`` and
    ``priority='LOW'`` it misses weights that the last step before a checkpoint has made infinite, so that a useless
    checkpoint can replace a good one. This hook checks the losses of every iteration and the model after its step,
    before :class:`~mmengine.hooks.CheckpointHook` runs.
    """

    priority = 'LOW'  # CheckpointHook has VERY_LOW

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None, outputs: Optional[dict] = None
    ) -> None:
        """Check the losses of this iteration, and the parameters and buffers after its step.

        Raises:
            FloatingPointError: If one is not finite.
        """
        tensors = {
            name: value
            for name, value in {**(outputs or {}), **runner.model.state_dict()}.items()
            if torch.is_tensor(value) and value.is_floating_point()
        }
        # Sums, since a single NaN or infinity shows in them and one transfer from the device is enough for all.
        finite = torch.stack([value.detach().sum(dtype=torch.float32) for value in tensors.values()]).isfinite()
        if not finite.all():
            broken = [name for name, is_finite in zip(tensors, finite.tolist()) if not is_finite]
            more = f' and {len(broken) - 3} more' if len(broken) > 3 else ''
            last = runner.message_hub.get_info('last_ckpt')
            raise FloatingPointError(
                f'training has diverged: {", ".join(broken[:3])}{more} infinite or NaN in iteration {runner.iter + 1}; '
                f'{f"the last checkpoint is {last}" if last else "no checkpoint has been written"}; lower the learning '
                'rate (optim_wrapper.optimizer.lr), clip the gradients (optim_wrapper.clip_grad) or warm up longer'
            )
