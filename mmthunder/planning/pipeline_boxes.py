"""Boxes and images as the training pipeline gives them to the network."""

import time
from dataclasses import dataclass
from typing import List

import numpy as np
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmengine.config import Config

from mmthunder.datasets.transforms.loading import LoadTruncatedImageFromFile

from .quiet import quiet


@dataclass(frozen=True)
class PipelineSample:
    """What the training pipeline gives for some images.

    Attributes:
        images (list[np.ndarray]): BGR, uint8, (H, W, 3).
        samples (list[DetDataSample]): Their boxes and labels.
        boxes (np.ndarray): All boxes that are not ignored, (x1, y1, x2, y2) in pixels of the input, (N, 4).
        seconds (float): Time per image in one process.
    """

    images: List[np.ndarray]
    samples: List[DetDataSample]
    boxes: np.ndarray
    seconds: float


def sample_pipeline(cfg: Config, count: int = 200) -> PipelineSample:
    """Run the training pipeline of a config on images spread over its data set.

    Args:
        cfg (Config): The config.
        count (int): Images at most. Defaults to 200.

    Returns:
        PipelineSample: What comes out.
    """
    state = np.random.get_state()
    with quiet():
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    # As the runner does.
    dataset.pipeline.transforms[0] = LoadTruncatedImageFromFile.like(dataset.pipeline.transforms[0])
    np.random.seed(0)
    start = time.perf_counter()
    indices = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int))
    items = [item for item in (dataset.prepare_data(index) for index in indices.tolist()) if item is not None]
    seconds = (time.perf_counter() - start) / len(indices)
    np.random.set_state(state)
    for item in items:
        instances = item['data_samples'].gt_instances
        instances.bboxes = instances.bboxes.tensor  # as mmdet's visualizer wants them
    boxes = [item['data_samples'].gt_instances.bboxes.numpy() for item in items]
    return PipelineSample(
        images=[item['inputs'].permute(1, 2, 0).numpy() for item in items],
        samples=[item['data_samples'] for item in items],
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
        seconds=seconds,
    )
