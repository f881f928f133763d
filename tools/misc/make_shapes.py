"""Write `shapes`, a small synthetic detection data set in COCO format."""

import sys

from mmthunder.tools.misc.make_shapes import main

if __name__ == '__main__':
    sys.exit(main())
