from .atomic_checkpoint_hook import AtomicCheckpointHook
from .divergence_hook import DivergenceHook
from .rng_state_hook import RNGStateHook
from .strict_checkpoint_hook import StrictCheckpointHook
from .weights_only_checkpoint_hook import WeightsOnlyCheckpointHook

__all__ = [
    'AtomicCheckpointHook',
    'StrictCheckpointHook',
    'DivergenceHook',
    'WeightsOnlyCheckpointHook',
    'RNGStateHook',
]
