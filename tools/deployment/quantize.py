"""Writes an INT8 version of an exported detector, calibrated on the config's training images."""

import sys

from mmthunder.tools.deployment.quantize import main

if __name__ == '__main__':
    sys.exit(main())
