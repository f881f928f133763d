from .checkpoint_fit_hook import CheckpointFitHook
from .plain_checkpoint_hook import PlainCheckpointHook
from .random_state_hook import RandomStateHook

__all__ = ['CheckpointFitHook', 'PlainCheckpointHook', 'RandomStateHook']
