"""Errors of the runtime."""


class ModelFileError(ValueError):
    """A file is not a detector that this package can run."""
