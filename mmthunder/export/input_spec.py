"""Input of an exported detector."""

from typing import NamedTuple, Optional, Tuple

import numpy as np
from mmengine.config import Config

from mmthunder.apis import ImagePipeline
from mmthunder.runtime.preprocessing import Preprocessing


class InputSpec(NamedTuple):
    """Input of a graph.

    Attributes:
        pipeline (ImagePipeline): The test pipeline that the graph is compared with.
        preprocessing (Preprocessing): The same pipeline for the runtime.
        size (tuple[int, int]): Width and height of the input in pixels; of a dynamic graph those of a large image.
        dynamic (bool): Whether the graph takes every height and width; otherwise those of ``size``.
        batch (int, optional): Images per call; None for any number.
    """

    pipeline: ImagePipeline
    preprocessing: Preprocessing
    size: Tuple[int, int]
    dynamic: bool
    batch: Optional[int]

    @classmethod
    def from_config(
        cls, cfg: Config, shape: Optional[Tuple[int, int]] = None, dynamic: bool = False, batch: Optional[int] = 1
    ) -> 'InputSpec':
        """Derive the input from the test pipeline of a config.

        Args:
            cfg (Config): The config.
            shape (tuple[int, int], optional): Height and width of the input, as :class:`ImagePipeline` has them.
                Defaults to None, the size of the test pipeline. Where sizes vary, since the pipeline keeps the aspect
                ratio and does not pad to one size, the graph is dynamic.
            dynamic (bool): Whether the graph takes every size. Defaults to False.
            batch (int, optional): Images per call; None for any number. Defaults to 1.

        Returns:
            InputSpec: The input.

        Raises:
            ValueError: If the runtime does not support a step of the test pipeline; the message names it.
        """
        pipeline = ImagePipeline(cfg, shape)
        preprocessing = pipeline.describe()
        size = preprocessing.fixed_size()
        if size is not None:
            return cls(pipeline, preprocessing, size, dynamic, batch)
        height, width = pipeline.input_size(preprocessing.loader.channels)
        return cls(pipeline, preprocessing, (width, height), True, batch)

    @property
    def channels(self) -> int:
        """Number of channels: 3, or 1 for grayscale images."""
        return self.preprocessing.loader.channels

    @property
    def dtype(self) -> type:
        """Type of the input: uint8, or float32 where the loader has ``to_float32``."""
        return np.float32 if self.preprocessing.loader.to_float32 else np.uint8
