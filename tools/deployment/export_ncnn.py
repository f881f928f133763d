"""Exports a ThunderNet to two ncnn networks and the settings that a program needs to connect them."""

import sys

from mmthunder.tools.deployment.export_ncnn import main

if __name__ == '__main__':
    sys.exit(main())
