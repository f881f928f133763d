"""Compares exported detectors with PyTorch on a dataset: detection by detection, and in the metric of its config."""

import sys

from mmthunder.tools.deployment.compare_backends import main

if __name__ == '__main__':
    sys.exit(main())
