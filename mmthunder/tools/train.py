"""Trains a config with mmdet's own script, so that ``mim train mmthunder`` finds this package's configs by name."""

import runpy
import sys
from pathlib import Path

import mmdet


def main() -> None:
    """Run mmdet's ``tools/train.py`` with this command line."""
    runpy.run_path(str(Path(mmdet.__file__).parent / '.mim/tools/train.py'), run_name='__main__')


if __name__ == '__main__':
    sys.exit(main())
