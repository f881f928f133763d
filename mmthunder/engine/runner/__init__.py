from .checkpoint import CheckpointError, safe_loading
from .runner import ThunderRunner

__all__ = ['CheckpointError', 'ThunderRunner', 'safe_loading']
