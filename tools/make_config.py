"""Plans the training of a detector for a data set of your own and writes its config."""

import sys

from mmthunder.tools.make_config import main

if __name__ == '__main__':
    sys.exit(main())
