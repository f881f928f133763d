"""Tests a config with mmdet's own script, so that ``mim test mmthunder`` finds this package's configs by name."""

import runpy
import sys
from pathlib import Path

import mmdet


def main() -> None:
    """Run mmdet's ``tools/test.py`` with this command line."""
    runpy.run_path(str(Path(mmdet.__file__).parent / '.mim/tools/test.py'), run_name='__main__')


if __name__ == '__main__':
    sys.exit(main())
