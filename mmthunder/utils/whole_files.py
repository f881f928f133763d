"""Writes files that belong together: all of them are there, or none is used."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Iterator, Sequence


@contextlib.contextmanager
def whole_files(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Write files aside and rename them when all are complete, so that an error leaves those that were there.

    Args:
        folder (Path): Where they belong; it is made if it is not there.
        names (Sequence[str]): Their names. The last one is the file that is opened first, without which nobody
            reads the others: it is not there while they are replaced.

    Yields:
        Path: An empty folder to write them into.
    """
    folder.mkdir(parents=True, exist_ok=True)
    *others, last = names
    with tempfile.TemporaryDirectory(prefix=f'.{last}-', dir=folder) as aside:
        yield Path(aside)
        if others:
            (folder / last).unlink(missing_ok=True)
        for name in names:
            os.replace(Path(aside, name), folder / name)
