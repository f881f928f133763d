"""Imports packages of the extras."""

from importlib import import_module
from types import ModuleType

from .planning_error import PlanningError


def require(module: str, purpose: str, extra: str = 'planning') -> ModuleType:
    """Import a module of an extra.

    Args:
        module (str): Its name.
        purpose (str): What needs it, for the message.
        extra (str): The extra that has its package. Defaults to ``'planning'``.

    Returns:
        ModuleType: The module.

    Raises:
        PlanningError: If its package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise PlanningError(f"{purpose}: {error}; pip install 'mmthunder[{extra}]'") from None
