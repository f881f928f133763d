"""Counts the multiply-adds and parameters of detectors, part by part."""

import sys

from mmthunder.tools.analysis_tools.complexity import main

if __name__ == '__main__':
    sys.exit(main())
