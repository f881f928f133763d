"""Train the planned detector and mmdet's light ones on one data set for the same time, and compare them."""

import sys

from mmthunder.tools.compare_detectors import main

if __name__ == '__main__':
    sys.exit(main())
