"""Mixed precision training on CPU, which mmengine has for accelerators only."""

from contextlib import ExitStack, contextmanager
from typing import Any, Iterator

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.device import get_device
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor, nn

# What a two-stage detector's time goes to; no detector has all of them.
NETWORK_PARTS = ('backbone', 'neck', 'rpn_head', 'rpn_head.trunk', 'sam', 'roi_head.bbox_head', 'roi_head.mask_head')


def _to_float32(outputs: Any) -> Any:
    """Cast the floating point tensors in lists and tuples, which the parts of mmdet return, to float32."""
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.is_floating_point() else outputs
    if isinstance(outputs, (list, tuple)):
        return type(outputs)(_to_float32(output) for output in outputs)
    return outputs


@contextmanager
def _bfloat16_forward(module: nn.Module) -> Iterator[None]:
    """Let a module compute in bfloat16 and return float32."""
    forward, own = module.forward, 'forward' in vars(module)

    def autocast_forward(*args, **kwargs) -> Any:
        with torch.autocast('cpu', dtype=torch.bfloat16):
            outputs = forward(*args, **kwargs)
        return _to_float32(outputs)

    module.forward = autocast_forward
    try:
        yield
    finally:
        if own:  # put there by mmengine, for example for activation checkpointing
            module.forward = forward
        else:
            del module.forward  # uncovers the class's


class CPUAmpOptimWrapper(OptimWrapper):
    """Trains the convolutional and linear parts of a detector in bfloat16 on CPU.

    Only the forward passes of these parts are autocast, and what they return is float32: mmcv's CPU
    operators (NMS, RoIAlign) have no bfloat16, and boxes need more than its 8 bits. bfloat16 has the
    range of float32, so there is no loss scale.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the parts of a model, wrapped or not, for one step.

        Raises:
            ValueError: If the model has none of the parts.
        """
        modules = dict((model.module if is_model_wrapper(model) else model).named_modules())
        parts = [modules[name] for name in NETWORK_PARTS if name in modules]
        if not parts:
            raise ValueError(
                f'--amp on CPU: {type(model).__name__} has none of the parts that it speeds up '
                f'({", ".join(NETWORK_PARTS)}); train without it'
            )
        with super().optim_context(model), ExitStack() as stack:
            for part in parts:
                stack.enter_context(_bfloat16_forward(part))
            yield


@OPTIM_WRAPPERS.register_module(name='AmpOptimWrapper')
def amp_optim_wrapper(**kwargs) -> OptimWrapper:
    """Build what ``--amp`` and ``type='AmpOptimWrapper'`` stand for on this machine.

    mmengine's :class:`~mmengine.optim.AmpOptimWrapper` where there is an accelerator, otherwise
    :class:`CPUAmpOptimWrapper`.

    Args:
        kwargs: Arguments of :class:`~mmengine.optim.AmpOptimWrapper`.

    Returns:
        OptimWrapper: The wrapper.

    Raises:
        ValueError: If ``dtype`` is another than bfloat16 on CPU.
    """
    if get_device() != 'cpu':
        return AmpOptimWrapper(**kwargs)
    for name in ('loss_scale', 'use_fsdp'):
        kwargs.pop(name, None)
    dtype = kwargs.pop('dtype', None)
    if dtype not in (None, 'bfloat16', torch.bfloat16):
        raise ValueError(f'AmpOptimWrapper: dtype {dtype} is not supported on CPU; use bfloat16, or leave it out')
    return CPUAmpOptimWrapper(**kwargs)
