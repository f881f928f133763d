"""Exports a ThunderNet to two ncnn networks and the settings that a program needs to connect them.

    python tools/deployment/export_ncnn.py CONFIG CHECKPOINT --output detector_ncnn

The directory has features.param|bin (image to maps), head.param|bin (RoI features to classes and boxes) and
detector.json. They are compared with the detector on images first.
"""

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from mmengine.logging import MMLogger

from mmthunder.export.ncnn_files import export_ncnn
from mmthunder.tools.deployment.export_options import add_options, load, report


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    add_options(parser)
    parser.add_argument('--output', required=True, help='directory to write')
    parser.add_argument('--fp16', action='store_true', help='store the weights in FP16')
    args = parser.parse_args(argv)
    MMLogger.get_current_instance().setLevel('ERROR')
    try:
        detector, spec, images = load(args)
        agreement = export_ncnn(detector, args.output, spec, images, args.fp16)
    # The last are pnnx's failure, what ncnn does not take, and networks that disagree with the detector.
    except (OSError, ImportError, ValueError, RuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in Path(args.output).glob('*.bin'))
    print(f'{args.output}: weights of {size / 1e6:.1f} MB')
    report('ncnn', agreement, args, spec)
    return 0


if __name__ == '__main__':
    sys.exit(main())
