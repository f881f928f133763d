"""Trains a config with mmdet's own script, so that ``mim train mmthunder`` finds this package's configs by name."""

import sys

from mmthunder.tools.train import main

if __name__ == '__main__':
    sys.exit(main())
