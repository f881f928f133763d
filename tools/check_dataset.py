"""Check the datasets of a config: annotations, class lists, images and evaluators."""

import sys

from mmthunder.tools.check_dataset import main

if __name__ == '__main__':
    sys.exit(main())
