from .atomic_checkpoint_hook import AtomicCheckpointHook
from .dataset_meta_hook import DatasetMetaHook
from .divergence_hook import DivergenceHook
from .last_stage_hook import LastStageHook
from .rng_state_hook import RNGStateHook
from .strict_checkpoint_hook import StrictCheckpointHook
from .weights_only_checkpoint_hook import WeightsOnlyCheckpointHook

CheckpointFitHook = StrictCheckpointHook  # former name, kept for one release
PlainCheckpointHook = WeightsOnlyCheckpointHook  # former name, kept for one release
RandomStateHook = RNGStateHook  # former name, kept for one release

__all__ = [
    'AtomicCheckpointHook',
    'DatasetMetaHook',
    'DivergenceHook',
    'LastStageHook',
    'RNGStateHook',
    'StrictCheckpointHook',
    'WeightsOnlyCheckpointHook',
]
