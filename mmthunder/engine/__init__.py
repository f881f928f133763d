"""Hooks, optimiser wrapper and runner, registered in :mod:`mmdet.registry`."""

from .hooks import *  # noqa: F401,F403
from .optimizers import *  # noqa: F401,F403
from .runner import *  # noqa: F401,F403
