"""Atomic writing: what is written is complete, or what was there before stays.

Everything is written to a temporary directory beside its place and renamed when it is complete. A killed process can
leave the temporary directory behind; its name begins with a dot and ends with :data:`SUFFIX`.
"""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Sequence, Union

SUFFIX = '.partial'  # of temporary directories


@contextmanager
def _temporary_directory(parent: Path, name: str) -> Iterator[Path]:
    """Make a directory in which the entry ``name`` of ``parent`` is written."""
    parent.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix='.', suffix=f'-{name}{SUFFIX}', dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_partial(directory: Union[str, Path]) -> None:
    """Remove the temporary directories that killed processes have left in a directory."""
    for path in Path(directory).glob(f'.*{SUFFIX}'):
        if path.is_dir():
            shutil.rmtree(path)


@contextmanager
def atomic_files(directory: Union[str, Path], names: Sequence[str]) -> Iterator[Path]:
    """Context manager for writing files that belong together.

    The contents reach the disk before the files get their names, so that a power failure leaves no empty files.

    Args:
        directory (str or Path): Directory of the files; created if needed.
        names (Sequence[str]): File names. The last one is the file that readers open first: it is removed before the
            others are replaced and comes last, so that nobody reads a mixture of old and new files.

    Yields:
        Path: Empty directory to write the files into.
    """
    directory = Path(directory)
    *others, last = names
    with _temporary_directory(directory, last) as temporary:
        yield temporary
        for name in names:
            with open(temporary / name, 'rb+') as file:
                os.fsync(file.fileno())
        if others and (directory / last).exists():
            (directory / last).unlink()
        for name in names:
            os.replace(temporary / name, directory / name)


def atomic_write(path: Union[str, Path], content: bytes) -> None:
    """Write a file.

    Args:
        path (str or Path): The file; its directory is created if needed.
        content (bytes): Its content.

    Raises:
        OSError: If the file cannot be written; ``filename`` is the path and ``strerror`` contains the size.
    """
    path = Path(path)
    try:
        with atomic_files(path.parent, [path.name]) as temporary:
            (temporary / path.name).write_bytes(content)
    except OSError as error:
        # The system's error names the temporary file, or none, and not the size.
        error.filename, error.filename2 = str(path), None
        error.strerror = f'{error.strerror} while writing {len(content) / 2**20:.1f} MB'
        raise


@contextmanager
def atomic_directory(path: Union[str, Path]) -> Iterator[Path]:
    """Context manager for writing a directory.

    Args:
        path (str or Path): The directory; an existing one is replaced. If it is a symbolic link, its target is
            replaced and the link stays.

    Yields:
        Path: Empty directory to write into.
    """
    path = Path(path).resolve()
    with _temporary_directory(path.parent, path.name) as temporary:
        new, old = temporary / 'new', temporary / 'old'
        new.mkdir()
        yield new
        try:
            if path.exists():
                os.replace(path, old)
            os.replace(new, path)
        finally:
            if old.exists() and not path.exists():  # interrupted between the two
                os.replace(old, path)
