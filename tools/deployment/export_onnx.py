"""Writes a detector as one ONNX file: uint8 image in, boxes, scores and labels out.

    python tools/deployment/export_onnx.py CONFIG CHECKPOINT --output detector.onnx

The file is compared with the detector on images first and not written if it finds something else.
"""

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from mmengine.config import DictAction
from mmengine.logging import MMLogger

from mmthunder.apis import load_detector, load_sample_images
from mmthunder.export import DisagreementError, InputSpec, export_onnx


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='config of the detector')
    parser.add_argument('checkpoint', nargs='?', help='its weights; random ones if left out, to measure speed')
    parser.add_argument('--output', required=True, help='ONNX file to write')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='size that images are stretched to; by default that of the test pipeline',
    )
    parser.add_argument(
        '--dynamic',
        action='store_true',
        help='take every height and width; always so where the test pipeline keeps proportions',
    )
    parser.add_argument('--batch', default='1', help="images of a call, or 'dynamic'")
    parser.add_argument('--images', nargs='+', help='images to compare on; by default some of the test set')
    parser.add_argument('--count', type=int, default=4, help='how many of the test set')
    parser.add_argument('--threads', type=int, help='threads of ONNX Runtime; by default its own choice')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='overrides of the config')
    args = parser.parse_args(argv)
    if args.count < 1:
        parser.error(f'--count {args.count} must be at least 1')
    if args.shape and min(args.shape) < 1:
        parser.error(f'--shape {args.shape[0]} {args.shape[1]} must be at least 1 1')
    if args.batch != 'dynamic' and not (args.batch.isdecimal() and int(args.batch)):
        parser.error(f"--batch {args.batch} must be a number from 1 or 'dynamic'")
    MMLogger.get_current_instance().setLevel('ERROR')
    try:
        detector = load_detector(args.config, args.checkpoint, args.cfg_options)
        spec = InputSpec.from_config(
            detector.cfg, args.shape, args.dynamic, None if args.batch == 'dynamic' else int(args.batch)
        )
        images = load_sample_images(detector.cfg, args.images, args.count)
        agreement = export_onnx(detector, args.output, spec, images, args.threads)
    except (OSError, ImportError, ValueError, NotImplementedError, DisagreementError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{args.output}: {Path(args.output).stat().st_size / 1e6:.1f} MB')
    print(f'ONNX Runtime and PyTorch agree: {agreement}')
    if not agreement.detections:
        print('warning: there was nothing to compare; give --images with objects', file=sys.stderr)
    if detector.roi_head.test_cfg.nms.type == 'soft_nms':
        print(
            'the config has soft-NMS, the graph greedy NMS of the same IoU threshold; '
            'tools/deployment/compare_backends.py tells what that changes'
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
