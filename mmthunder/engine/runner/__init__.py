from .checkpoint import CheckpointError
from .runner import ThunderRunner

__all__ = ['CheckpointError', 'ThunderRunner']
