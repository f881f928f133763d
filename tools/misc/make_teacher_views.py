"""Write views of images without labels and what a teacher computes from them."""

import sys

from mmthunder.tools.misc.make_teacher_views import main

if __name__ == '__main__':
    sys.exit(main())
