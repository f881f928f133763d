"""Options of the exporters, and loading of the detector and of the images to compare on."""

import argparse
import sys
from pathlib import Path
from typing import List, Optional, Tuple

import numpy as np
from mmdet.models.detectors import BaseDetector
from mmengine.config import DictAction

from mmthunder.apis import Agreement, load_detector, load_sample_images
from mmthunder.export import InputSpec
from mmthunder.export.metadata import find_category_ids, read_category_ids
from mmthunder.tools.arguments import at_least


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command line."""
    parser.add_argument('config', help='config of the detector')
    parser.add_argument('checkpoint', nargs='?', help='its weights; random ones if left out, to measure speed')
    parser.add_argument(
        '--shape',
        type=at_least(1),
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the input in place of that of the test pipeline: images are padded to it where the test pipeline '
        'pads, otherwise stretched',
    )
    parser.add_argument('--images', nargs='+', help='images to compare on; by default some of the test set')
    parser.add_argument('--count', type=at_least(1), default=4, help='number of images of the test set to compare on')
    ids = parser.add_mutually_exclusive_group()
    ids.add_argument(
        '--category-ids',
        type=int,
        nargs='+',
        metavar='ID',
        help="the dataset's ids of the classes, in their order; by default those of the checkpoint or the dataset",
    )
    ids.add_argument('--annotations', type=Path, help='COCO annotation file whose categories have the ids')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='overrides of the config')


def set_category_ids(detector: BaseDetector, ids: Optional[List[int]], annotations: Optional[Path]) -> None:
    """Give a detector the ids of its classes, and warn where they are assumed.

    Args:
        detector (BaseDetector): The detector; its ``dataset_meta`` is changed.
        ids (list[int], optional): The ids, as they are given.
        annotations (Path, optional): COCO annotation file that has them.

    Raises:
        ValueError: If there are not as many ids as classes.
    """
    meta = detector.dataset_meta
    classes = meta['classes']
    if annotations is not None:
        ids = read_category_ids(annotations, classes)
        if ids is None:
            raise ValueError(f'{annotations}: does not have all of the classes {", ".join(map(str, classes))}')
    if ids is not None and len(ids) != len(classes):
        names = ', '.join(map(str, classes))
        raise ValueError(f'--category-ids: {len(ids)} given for {len(classes)} classes ({names})')
    assumed = None
    if ids is None:
        ids, assumed = find_category_ids(detector.cfg, meta)
    if assumed:
        print(f'warning: {assumed}', file=sys.stderr)
    detector.dataset_meta = dict(meta, category_ids=ids)


def load(
    args: argparse.Namespace, dynamic: bool = False, batch: Optional[int] = 1
) -> Tuple[BaseDetector, InputSpec, List[np.ndarray]]:
    """Load the detector and the images.

    Args:
        args (argparse.Namespace): The command line.
        dynamic (bool): Whether the graph takes every size. Defaults to False.
        batch (int, optional): Images per call; None for any number. Defaults to 1.

    Returns:
        tuple: The detector, the input of its graph, and the images to compare on.

    Raises:
        ValueError: If the values do not fit the detector.
        OSError: If a file cannot be read.
    """
    detector = load_detector(args.config, args.checkpoint, args.cfg_options)
    set_category_ids(detector, args.category_ids, args.annotations)
    spec = InputSpec.from_config(detector.cfg, args.shape, dynamic, batch)
    return detector, spec, load_sample_images(detector.cfg, args.images, args.count, spec.pipeline)


def report(name: str, agreement: Agreement, args: argparse.Namespace, spec: InputSpec) -> None:
    """Print the comparison of a runtime with the detector.

    Args:
        name (str): Name of the runtime.
        agreement (Agreement): The comparison.
        args (argparse.Namespace): The command line.
        spec (InputSpec): Input of the graph.
    """
    if args.shape:
        steps = ', '.join(map(str, spec.preprocessing.steps))
        print(f'compared on images preprocessed for --shape, not by the test pipeline of the config: {steps}')
    print(f'{name} and PyTorch agree: {agreement}')
    if not agreement.detections:
        print('warning: there was nothing to compare; give --images with objects', file=sys.stderr)
