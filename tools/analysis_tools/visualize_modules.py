"""Draws the outputs of the modules of a ThunderNet for an image, as one picture."""

import sys

from mmthunder.tools.analysis_tools.visualize_modules import main

if __name__ == '__main__':
    sys.exit(main())
