"""Data loading that names the files it cannot read."""

from . import transforms  # noqa: F401
