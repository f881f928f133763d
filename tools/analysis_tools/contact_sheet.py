"""Arranges pictures of equal size in a grid, for example the detections that ``mim test --show-dir`` draws."""

import sys

from mmthunder.tools.analysis_tools.contact_sheet import main

if __name__ == '__main__':
    sys.exit(main())
