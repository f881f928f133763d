"""Time detectors on the CPU beside others, in one run."""

import sys

from mmthunder.tools.analysis_tools.benchmark_latency import main

if __name__ == '__main__':
    sys.exit(main())
