"""Types of command line arguments: argparse names the argument, and they say in one line what is wrong with it."""

from argparse import ArgumentTypeError
from typing import Callable

import cv2


def at_least(least: int) -> Callable[[str], int]:
    """Return a type of integers that are not below ``least``."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise ArgumentTypeError(f'{value}: must be at least {least}')
        return value

    return number


def image_file(path: str) -> str:
    """Check that a file is an image."""
    if not cv2.haveImageReader(path):
        raise ArgumentTypeError(f'{path}: not a readable image')
    return path
