"""Data transforms, registered in :data:`mmdet.registry.TRANSFORMS`."""

from .transforms import *  # noqa: F401,F403
