"""Writes folders that are there as a whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Iterator


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Write a folder aside and rename it when it is complete, so that an interruption leaves what was there.

    Args:
        path (Path): The folder's name; what has that name is replaced.

    Yields:
        Path: An empty folder to write into, beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f'.{path.name}-', dir=path.parent))
    try:
        yield partial
        if path.exists():
            shutil.rmtree(path)
        partial.chmod(0o755)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
