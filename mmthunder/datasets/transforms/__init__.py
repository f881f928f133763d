from . import loading  # noqa: F401
