"""Evaluation, registered in :mod:`mmdet.registry`."""

from .metrics import *  # noqa: F401,F403
