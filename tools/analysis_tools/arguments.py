"""Types of command line arguments: argparse names the argument, and they say in one line what is wrong with it."""

from argparse import ArgumentTypeError
from typing import Callable

import cv2
import torch
from mmengine.config import Config

# What a config of a two-stage detector has; see :func:`config_with`.
TWO_STAGES = ('model.rpn_head', 'model.roi_head', 'test_dataloader')


def at_least(least: int) -> Callable[[str], int]:
    """Make a type of whole numbers that are not below ``least``."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise ArgumentTypeError(f'{value}: must be at least {least}')
        return value

    return number


def config_with(*keys: str) -> Callable[[str], Config]:
    """Make a type of configs that have some keys, which are given as in ``--cfg-options``."""

    def config(path: str) -> Config:
        try:
            cfg = Config.fromfile(path)
        except (OSError, SyntaxError) as error:
            raise ArgumentTypeError(' '.join(str(error).split())) from None
        for key in keys:
            value = cfg
            for name in key.split('.'):
                value = (value or {}).get(name)
            if value is None:
                raise ArgumentTypeError(f'{path}: has no {key}; give another config')
        return cfg

    return config


def image_file(path: str) -> str:
    """Check that a file is an image."""
    if not cv2.haveImageReader(path):
        raise ArgumentTypeError(f'{path}: not a readable image')
    return path


def torch_device(name: str) -> torch.device:
    """Check that torch has a device."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ArgumentTypeError(f'{name}: {error}'.split('\n')[0]) from None
