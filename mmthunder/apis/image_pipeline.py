"""The test pipeline of a config: loading images and preparing them for the detector."""

from pathlib import Path
from typing import Any, List, Optional, Tuple, Union

import cv2
import mmcv.transforms
import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmdet.datasets.transforms import (
    FilterAnnotations,
    FixShapeResize,
    LoadEmptyAnnotations,
    PackDetInputs,
    Pad,
    Resize,
    ResizeShortestEdge,
)
from mmdet.registry import TRANSFORMS
from mmengine.config import Config, ConfigDict
from PIL import Image

from mmthunder.datasets import LoadTruncatedImageFromFile, base_dataset_cfgs
from mmthunder.runtime import preprocessing

# Steps that leave the image as it is.
OTHERS = (mmcv.transforms.LoadAnnotations, LoadEmptyAnnotations, FilterAnnotations, PackDetInputs)
# Steps that --shape replaces; those of mmdet are subclasses of mmcv's.
SIZES = (mmcv.transforms.Resize, mmcv.transforms.Pad, ResizeShortestEdge)
# Errors of decoders for files that are not images.
UNREADABLE = (AssertionError, ValueError, SyntaxError, cv2.error, Image.UnidentifiedImageError, EOFError)


def find_datasets(cfg: Config, *splits: str) -> List[ConfigDict]:
    """Find the configs of datasets.

    Args:
        cfg (Config): The config.
        splits (str): Of ``'test'``, ``'val'`` and ``'train'``, in the order of the result.

    Returns:
        list[ConfigDict]: The first dataset of each split that the config has, without wrappers such as
        ``RepeatDataset`` and ``ConcatDataset``. A data loader that is None counts as absent.
    """
    found = []
    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        found += [dataset for _, dataset in base_dataset_cfgs(loader.get('dataset'))][:1]
    return found


def _name(step: Any) -> str:
    """Return the type of a step as the config has it."""
    return 'LoadImageFromFile' if type(step) is LoadTruncatedImageFromFile else type(step).__name__


def _pair(value: Any) -> Optional[Tuple]:
    return None if value is None else tuple(value)


def _pad_values(pad_val: Union[dict, int, float], channels: int) -> Tuple[float, ...]:
    """Return the padding value of each channel; mmcv applies a float to the first channel only."""
    value = pad_val.get('img', 0) if isinstance(pad_val, dict) else pad_val
    if isinstance(value, (list, tuple)):
        return tuple(value)
    rest = value if isinstance(value, int) else 0
    return (value, *[rest] * (channels - 1))


def read_image(loader: BaseTransform, path: Union[str, Path]) -> np.ndarray:
    """Read an image with the first transform of a pipeline.

    Args:
        loader (BaseTransform): The transform.
        path (str or Path): The file.

    Returns:
        np.ndarray: The image, by default BGR, uint8, (H, W, 3).

    Raises:
        ValueError: If the file is not an image, or the transform loads none.
        OSError: If the file cannot be opened.
    """
    try:
        results = loader(dict(img_path=str(path), img_id=0))
    except UNREADABLE:
        results = None
    except OSError as error:
        if error.errno is not None:
            raise
        results = None  # Pillow's, for a damaged file
    if results is None:
        raise ValueError(f'{path}: not a readable image')
    if 'img' not in results:
        raise ValueError(f'{path}: not loaded by {_name(loader)}, which the pipeline begins with')
    return results['img']


class ImagePipeline:
    """The test pipeline of a config. Everything in this package that loads and resizes images for a config uses it.

    Args:
        cfg (Config): The config; without ``test_dataloader`` the pipeline is that of ``val_dataloader``, and without
            both images are loaded as in ``train_dataloader``, and ``shape`` is required.
        shape (tuple[int, int], optional): Height and width of the detector's input, in place of the steps that resize
            and pad. Where the config pads, images are resized to fit in and padded, otherwise they are stretched.
            Defaults to None.

    Raises:
        ValueError: If the config has no test pipeline and no ``shape`` is given, or ``shape`` cannot replace its steps.
    """

    def __init__(self, cfg: Config, shape: Optional[Tuple[int, int]] = None) -> None:
        self._file = cfg.filename or 'config'
        datasets = find_datasets(cfg, 'test', 'val')
        pipeline = datasets[0].get('pipeline') if datasets else self._without_tests(cfg, shape)
        steps = [step if callable(step) else TRANSFORMS.build(step) for step in pipeline or []]
        if not steps:
            raise ValueError(f'{self._file}: the test pipeline is empty; it needs LoadImageFromFile and more')
        self.loader, *self.steps = steps
        if type(self.loader) is LoadImageFromFile:  # as in tests by ThunderRunner
            self.loader = LoadTruncatedImageFromFile.like(self.loader)
        if shape is not None:
            self.steps = self._with_shape(shape)

    def _without_tests(self, cfg: Config, shape: Optional[Tuple[int, int]]) -> list:
        """Return a test pipeline with the loader of the training pipeline."""
        if shape is None:
            raise ValueError(
                f'{self._file}: has neither test_dataloader nor val_dataloader, whose pipeline has the size of images; '
                'give the size on the command line (--shape HEIGHT WIDTH)'
            )
        (train,) = find_datasets(cfg, 'train') or [{}]
        loader = next(iter(train.get('pipeline', ())), dict(type='LoadImageFromFile'))
        meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
        return [loader, PackDetInputs(meta_keys=meta_keys)]

    def _with_shape(self, shape: Tuple[int, int]) -> List[BaseTransform]:
        """Replace the steps that resize and pad."""
        height, width = shape
        sizes = [step for step in self.steps if isinstance(step, SIZES)]
        interpolation = next((step.interpolation for step in sizes if hasattr(step, 'interpolation')), 'bilinear')
        pads = [getattr(step, 'pad_transform', step) for step in sizes]
        pad = next((step for step in pads if isinstance(step, mmcv.transforms.Pad)), None)
        if pad is None:
            resize = Resize(scale=(width, height), interpolation=interpolation)
        elif pad.padding_mode != 'constant':
            raise ValueError(
                f'{self._file}: Pad of the test pipeline has padding_mode={pad.padding_mode!r}, which --shape cannot '
                'keep; leave --shape out, or set constant'
            )
        else:
            resize = FixShapeResize(width, height, pad.pad_val, keep_ratio=True, interpolation=interpolation)
        first = next((i for i, step in enumerate(self.steps) if isinstance(step, SIZES)), 0)
        kept = [step for step in self.steps if not isinstance(step, SIZES)]
        return [*kept[:first], resize, *kept[first:]]

    def read(self, path: Union[str, Path]) -> np.ndarray:
        """Read an image with the config's own loader.

        Args:
            path (str or Path): The file.

        Returns:
            np.ndarray: The image, by default BGR, uint8, (H, W, 3).

        Raises:
            ValueError: If the file is not an image.
            OSError: If it cannot be opened.
        """
        return read_image(self.loader, path)

    def __call__(self, image: np.ndarray) -> dict:
        """Make the detector's input of one image.

        Args:
            image (np.ndarray): What :meth:`read` returns.

        Returns:
            dict: A batch of one for mmdet's ``test_step``: ``inputs`` and ``data_samples``.
        """
        shape = image.shape[:2]
        results = dict(img=image, img_path=None, img_id=0, img_shape=shape, ori_shape=shape)
        for step in self.steps:
            results = step(results)
        return dict(inputs=[results['inputs']], data_samples=[results['data_samples']])

    def input_size(self, channels: int = 3) -> Tuple[int, int]:
        """Run the pipeline to find the size of the detector's input.

        Args:
            channels (int): Channels of an image. Defaults to 3.

        Returns:
            tuple[int, int]: Height and width in pixels. Where sizes vary, those of an image with the aspect ratio of
            the ``scale`` of Resize, or of 4:3.

        Raises:
            ValueError: If no step resizes images.
        """
        resizes = [step for step in self.steps if isinstance(step, SIZES) and not isinstance(step, mmcv.transforms.Pad)]
        if not resizes:
            raise ValueError(
                f'{self._file}: the test pipeline has no Resize, which gives images their size; give the size on the '
                'command line'
            )
        scale = resizes[0].scale if isinstance(resizes[0].scale, tuple) else (640, 480)
        return self(np.zeros((scale[1], scale[0], channels), np.uint8))['inputs'][0].shape[-2:]

    def describe(self) -> preprocessing.Preprocessing:
        """Translate the pipeline for :mod:`mmthunder.runtime`.

        Returns:
            Preprocessing: The same steps.

        Raises:
            ValueError: If the runtime does not support a step or an option; the message names it.
        """
        loader = self._describe_loader()
        steps = [self._describe_step(step, loader.channels) for step in self.steps if not isinstance(step, OTHERS)]
        resizes = [step for step in steps if not isinstance(step, preprocessing.Pad)]
        if len(resizes) != 1:
            raise ValueError(
                f'{self._file}: the test pipeline has {len(resizes)} Resize steps, but exactly one is needed, which '
                'gives images their size'
            )
        return preprocessing.Preprocessing(loader, tuple(steps))

    def _describe_loader(self) -> preprocessing.LoadImageFromFile:
        loader = self.loader
        if type(loader) is not LoadTruncatedImageFromFile:
            self._refuse(loader, '', 'LoadImageFromFile')
        if loader.color_type not in preprocessing.COLOR_TYPES:
            like = (
                "'color_ignore_orientation' and 'grayscale_ignore_orientation', which are the same for 8-bit images "
                'without alpha'
            )
            self._refuse(loader, f'color_type={loader.color_type!r}', like)
        if loader.imdecode_backend not in preprocessing.DECODERS:
            self._refuse(loader, f'imdecode_backend={loader.imdecode_backend!r}', ' or '.join(preprocessing.DECODERS))
        return preprocessing.LoadImageFromFile(loader.color_type, loader.imdecode_backend, loader.to_float32)

    def _describe_step(self, step: BaseTransform, channels: int) -> preprocessing.Step:
        # Subclasses may do anything else, so the classes themselves are compared.
        if type(step) in (mmcv.transforms.Pad, Pad):
            return preprocessing.Pad(
                _pair(step.size),
                step.size_divisor,
                step.pad_to_square,
                _pad_values(step.pad_val, channels),
                step.padding_mode,
            )
        if type(step) not in (mmcv.transforms.Resize, Resize, FixShapeResize):
            self._refuse(step, '', 'Resize, FixShapeResize and Pad')
        if step.backend != 'cv2':
            self._refuse(step, f'backend={step.backend!r}', "'cv2'")
        if type(step) is not FixShapeResize:
            scale_factor = None if step.scale else _pair(step.scale_factor)
            return preprocessing.Resize(_pair(step.scale), scale_factor, step.keep_ratio, step.interpolation)
        if not step.keep_ratio:
            return preprocessing.Resize((step.width, step.height), interpolation=step.interpolation)
        pad_val = _pad_values(step.pad_transform.pad_val, channels)
        return preprocessing.FixShapeResize(step.width, step.height, pad_val, step.interpolation)

    def _refuse(self, step: BaseTransform, option: str, expected: str) -> None:
        place = f'{_name(step)}({option})' if option else _name(step)
        raise ValueError(
            f'{self._file}: the test pipeline has {place}, which mmthunder.runtime does not support; it supports '
            f'{expected}'
        )
