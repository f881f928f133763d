"""Command line tools; each is a module with a ``main``, which the script of the same name in ``tools/`` calls."""
