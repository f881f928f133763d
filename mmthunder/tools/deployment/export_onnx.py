"""Exports a detector to one ONNX file: uint8 image in, boxes, scores and labels out.

    python tools/deployment/export_onnx.py CONFIG CHECKPOINT --output detector.onnx

Its detections are compared with those of the detector first; the file is not written if they differ.
"""

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from mmengine.logging import MMLogger

from mmthunder.apis import nms_type
from mmthunder.export import DisagreementError, export_onnx
from mmthunder.tools.deployment.export_options import add_options, load, report


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    add_options(parser)
    parser.add_argument('--output', required=True, help='ONNX file to write')
    parser.add_argument(
        '--dynamic',
        action='store_true',
        help='take every height and width; always so where the test pipeline gives images different sizes',
    )
    parser.add_argument('--batch', default='1', help="images per call, or 'dynamic'")
    parser.add_argument('--threads', type=int, help='threads of ONNX Runtime; by default its own choice')
    args = parser.parse_args(argv)
    if args.batch != 'dynamic' and not (args.batch.isdecimal() and int(args.batch)):
        parser.error(f"--batch {args.batch} must be a number from 1 or 'dynamic'")
    MMLogger.get_current_instance().setLevel('ERROR')
    try:
        detector, spec, images = load(args, args.dynamic, None if args.batch == 'dynamic' else int(args.batch))
        agreement = export_onnx(detector, args.output, spec, images, args.threads)
    except (OSError, ImportError, ValueError, NotImplementedError, DisagreementError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{args.output}: {Path(args.output).stat().st_size / 1e6:.1f} MB')
    report('ONNX Runtime', agreement, args, spec)
    if nms_type(detector.roi_head.test_cfg) == 'soft_nms':
        print(
            'the config has soft-NMS, the graph greedy NMS of the same IoU threshold; '
            'tools/deployment/compare_backends.py measures the difference'
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
