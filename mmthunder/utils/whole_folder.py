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
        path (Path): The folder's name; what has that name is replaced. If it is a link, the folder that it
            leads to is replaced and the link stays.

    Yields:
        Path: An empty folder to write into.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f'.{path.name}-', dir=path.parent))
    new, old = aside / 'new', aside / 'old'
    new.mkdir()
    try:
        yield new
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
    finally:
        if old.exists() and not path.exists():  # interrupted between the two
            os.replace(old, path)
        shutil.rmtree(aside, ignore_errors=True)
