"""Writes an eight-bit version of an exported detector, calibrated on the config's training images.

    python tools/deployment/quantize.py CONFIG detector.onnx --output detector_int8.onnx
    python tools/deployment/quantize.py CONFIG detector.onnx --output detector_int8.xml

A file that ends with .onnx is quantised by ONNX Runtime, one that ends with .xml by NNCF for OpenVINO.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Optional, Sequence

import numpy as np
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmthunder.apis import load_sample_images
from mmthunder.export.quantize import quantize_onnxruntime, quantize_openvino


def training_images(cfg: Config, count: int) -> list:
    """Take images that are spread evenly over the training set."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = cfg.train_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    dataset = DATASETS.build(dataset)
    indices = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
    return load_sample_images(cfg, [dataset.get_data_info(int(i))['img_path'] for i in indices], count)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and quantise."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='config of the detector, which has the training set')
    parser.add_argument('model', help='file of tools/deployment/export_onnx.py')
    parser.add_argument('--output', required=True, help='file to write, .onnx or .xml')
    parser.add_argument('--count', type=int, default=100, help='images to calibrate on')
    args = parser.parse_args(argv)
    functions = {'.onnx': quantize_onnxruntime, '.xml': quantize_openvino}
    output = Path(args.output)
    if args.count < 1:
        parser.error(f'--count {args.count} must be at least 1')
    if output.suffix not in functions:
        parser.error(f'--output {output} must end with .onnx, for ONNX Runtime, or .xml, for OpenVINO')
    logging.disable(logging.WARNING)
    try:
        images = training_images(Config.fromfile(args.config), args.count)
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
