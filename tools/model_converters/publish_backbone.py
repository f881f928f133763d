"""Write the backbone of a checkpoint as a file for init_cfg, named after its SHA-256."""

import sys

from mmthunder.tools.model_converters.publish_backbone import main

if __name__ == '__main__':
    sys.exit(main())
