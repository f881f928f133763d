"""Writes a ThunderNet as two networks of ncnn and what a program needs to know to connect them.

    python tools/deployment/export_ncnn.py CONFIG CHECKPOINT --output detector_ncnn

The folder has features.param|bin (image to maps), head.param|bin (RoI features to classes and boxes) and
detector.json. They are compared with the detector on images first.
"""

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from mmengine.config import DictAction
from mmengine.logging import MMLogger

from mmthunder.apis import load_detector, load_sample_images
from mmthunder.export import InputSpec
from mmthunder.export.ncnn_files import export_ncnn


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='config of the detector')
    parser.add_argument('checkpoint', nargs='?', help='its weights; random ones if left out, to measure speed')
    parser.add_argument('--output', required=True, help='folder to write')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='size that images are stretched to; by default that of the test pipeline',
    )
    parser.add_argument('--fp16', action='store_true', help='store the weights in 16 bits')
    parser.add_argument('--images', nargs='+', help='images to compare on; by default some of the test set')
    parser.add_argument('--count', type=int, default=4, help='how many of the test set')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='overrides of the config')
    args = parser.parse_args(argv)
    if args.count < 1:
        parser.error(f'--count {args.count} must be at least 1')
    if args.shape and min(args.shape) < 1:
        parser.error(f'--shape {args.shape[0]} {args.shape[1]} must be at least 1 1')
    MMLogger.get_current_instance().setLevel('ERROR')
    try:
        detector = load_detector(args.config, args.checkpoint, args.cfg_options)
        spec = InputSpec.from_config(detector.cfg, args.shape)
        images = load_sample_images(detector.cfg, args.images, args.count)
        agreement = export_ncnn(detector, args.output, spec, images, args.fp16)
    # The last are pnnx's failure, what ncnn does not take, and networks that disagree with the detector.
    except (OSError, ImportError, ValueError, RuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in Path(args.output).glob('*.bin'))
    print(f'{args.output}: weights of {size / 1e6:.1f} MB')
    print(f'ncnn and PyTorch agree: {agreement}')
    if not agreement.detections:
        print('warning: there was nothing to compare; give --images with objects', file=sys.stderr)
    return 0


if __name__ == '__main__':
    sys.exit(main())
