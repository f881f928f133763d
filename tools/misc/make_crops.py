"""Write the objects of a detection data set as a classification data set."""

import sys

from mmthunder.tools.misc.make_crops import main

if __name__ == '__main__':
    sys.exit(main())
