"""Train the planned detector and mmdet's light ones on one data set for the same time, and compare them."""

import signal
import sys

from mmthunder.tools.compare_detectors import main

if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the trainings as Ctrl-C does
    sys.exit(main())
