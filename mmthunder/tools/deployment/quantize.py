"""Writes an INT8 version of an exported detector, calibrated on the config's training images.

    python tools/deployment/quantize.py CONFIG detector.onnx --output detector_int8.onnx
    python tools/deployment/quantize.py CONFIG detector.onnx --output detector_int8.xml

A file that ends with .onnx is quantised by ONNX Runtime, one that ends with .xml by NNCF for OpenVINO. Images are read
and resized as the detector says.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import List, Optional, Sequence

import numpy as np
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmthunder.apis import find_datasets
from mmthunder.export.quantize import quantize_onnxruntime, quantize_openvino
from mmthunder.runtime import Detector
from mmthunder.tools.arguments import at_least


def training_images(cfg: Config, count: int) -> List[str]:
    """Choose images that are spread evenly over the training set.

    Args:
        cfg (Config): The config.
        count (int): Number of images; fewer if the training set is smaller.

    Returns:
        list[str]: Their paths.

    Raises:
        ValueError: If the config has no training set.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    for dataset_cfg in find_datasets(cfg, 'train'):
        dataset = DATASETS.build(dataset_cfg)
        indices = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
        return [dataset.get_data_info(int(i))['img_path'] for i in indices]
    raise ValueError(f'{cfg.filename}: has no train_dataloader; give images to calibrate on with --images')


def read_images(detector: Detector, paths: Sequence[str]) -> List[np.ndarray]:
    """Read images as the detector says; ValueError if one cannot be read."""
    images = [detector.read(path) for path in paths]
    for path, image in zip(paths, images):
        if image is None:
            raise ValueError(f'{path}: not a readable image')
    return images


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and quantise."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='config of the detector, which has the training set')
    parser.add_argument('model', help='file of tools/deployment/export_onnx.py')
    parser.add_argument('--output', required=True, help='file to write, .onnx or .xml')
    parser.add_argument('--images', nargs='+', help='images to calibrate on; by default some of the training set')
    parser.add_argument('--count', type=at_least(1), default=100, help='number of training images to calibrate on')
    args = parser.parse_args(argv)
    functions = {'.onnx': quantize_onnxruntime, '.xml': quantize_openvino}
    output = Path(args.output)
    if output.suffix not in functions:
        parser.error(f'--output {output} must end with .onnx, for ONNX Runtime, or .xml, for OpenVINO')
    logging.disable(logging.WARNING)
    try:
        paths = args.images or training_images(Config.fromfile(args.config), args.count)
        images = read_images(Detector(args.model), paths)
        functions[output.suffix](args.model, output, images)
    except (OSError, ImportError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    # OpenVINO keeps the weights beside the graph.
    files = [output] if output.suffix == '.onnx' else [output, output.with_suffix('.bin')]
    size = sum(path.stat().st_size for path in files)
    print(
        f'{output}: {size / 1e6:.1f} MB (float32: {Path(args.model).stat().st_size / 1e6:.1f} MB), calibrated on '
        f'{len(images)} images'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
