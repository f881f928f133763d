"""Find the backbone width at which a config costs as many multiply-adds as another."""

import sys

from mmthunder.tools.analysis_tools.match_macs import main

if __name__ == '__main__':
    sys.exit(main())
