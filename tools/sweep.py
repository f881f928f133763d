"""Train several configs with several seeds and collect the results in one table."""

import sys

from mmthunder.tools.sweep import main

if __name__ == '__main__':
    sys.exit(main())
