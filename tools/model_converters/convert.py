"""Convert public weights to this project's layout, and checkpoints of mmengine to tensors and plain values."""

import sys

from mmthunder.tools.model_converters.convert import main

if __name__ == '__main__':
    sys.exit(main())
