"""Mixed precision training on CPU."""

from contextlib import ExitStack, contextmanager
from typing import Any, Iterator, Union

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

# The parts that take most of the time of a two-stage detector; no detector has all of them.
NETWORK_PARTS = ('backbone', 'neck', 'rpn_head', 'rpn_head.trunk', 'sam', 'roi_head.bbox_head', 'roi_head.mask_head')


def _to_float32(outputs: Any) -> Any:
    """Cast floating point tensors, also in lists and tuples, to float32."""
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.is_floating_point() else outputs
    if isinstance(outputs, (list, tuple)):
        return type(outputs)(_to_float32(output) for output in outputs)
    return outputs


@contextmanager
def _bfloat16_forward(module: nn.Module) -> Iterator[None]:
    """Run a module's forward pass in bfloat16 with outputs in float32."""
    forward, own = module.forward, 'forward' in vars(module)

    def autocast_forward(*args, **kwargs) -> Any:
        with torch.autocast('cpu', dtype=torch.bfloat16):
            outputs = forward(*args, **kwargs)
        return _to_float32(outputs)

    module.forward = autocast_forward
    try:
        yield
    finally:
        if own:  # set on the instance, by mmengine's activation checkpointing for example
            module.forward = forward
        else:
            del module.forward  # the class's forward applies again


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed precision training of a detector's convolutional and linear parts in bfloat16 on CPU.

    mmengine's :class:`~mmengine.optim.AmpOptimWrapper` needs an accelerator. Here only the forward passes of the
    network parts are autocast, and their outputs are cast to float32: mmcv's CPU operators (NMS, RoIAlign) do not
    support bfloat16, and box coordinates need more than its 8 bits of significand. bfloat16 has the range of float32,
    so the loss is not scaled.

    :class:`~mmthunder.engine.ThunderRunner` builds it for ``type='AmpOptimWrapper'`` (``--amp``) when there is no
    accelerator.

    Args:
        dtype (str or torch.dtype, optional): bfloat16, the only supported type. Defaults to None, which means
            bfloat16.
        loss_scale (float, str or dict, optional): Accepted for compatibility with AmpOptimWrapper and ignored.
        use_fsdp (bool): Accepted for compatibility with AmpOptimWrapper and ignored.
        kwargs: Arguments of :class:`~mmengine.optim.OptimWrapper`.

    Raises:
        ValueError: If ``dtype`` is not bfloat16.
    """

    def __init__(
        self,
        dtype: Union[str, torch.dtype, None] = None,
        loss_scale: Union[float, str, dict, None] = None,
        use_fsdp: bool = False,
        **kwargs,
    ) -> None:
        if dtype not in (None, 'bfloat16', torch.bfloat16):
            raise ValueError(
                f'optim_wrapper.dtype={dtype} is not supported on CPU; expected bfloat16; set it, or remove the key'
            )
        super().__init__(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the network parts of a model, wrapped or not, for one training step.

        Raises:
            ValueError: If the model has none of the parts.
        """
        modules = dict((model.module if is_model_wrapper(model) else model).named_modules())
        parts = [modules[name] for name in NETWORK_PARTS if name in modules]
        if not parts:
            raise ValueError(
                f'--amp on CPU: {type(model).__name__} has none of the parts that can be autocast '
                f'({", ".join(NETWORK_PARTS)}); train without --amp'
            )
        with super().optim_context(model), ExitStack() as stack:
            for part in parts:
                stack.enter_context(_bfloat16_forward(part))
            yield
