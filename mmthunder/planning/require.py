"""Imports packages that only planning needs."""

from importlib import import_module
from types import ModuleType

from .planning_error import PlanningError


def require(module: str, purpose: str) -> ModuleType:
    """Import a module of the extra ``planning``.

    Args:
        module (str): Its name.
        purpose (str): What needs it, for the message.

    Returns:
        ModuleType: The module.

    Raises:
        PlanningError: If its package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise PlanningError(f"{purpose}: {error}; pip install 'mmthunder[planning]'") from None
