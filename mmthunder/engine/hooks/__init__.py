from .atomic_checkpoint_hook import AtomicCheckpointHook
from .checkpoint_fit_hook import CheckpointFitHook
from .divergence_hook import DivergenceHook
from .plain_checkpoint_hook import PlainCheckpointHook
from .random_state_hook import RandomStateHook

__all__ = ['AtomicCheckpointHook', 'CheckpointFitHook', 'DivergenceHook', 'PlainCheckpointHook', 'RandomStateHook']
