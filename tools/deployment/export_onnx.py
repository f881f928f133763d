"""Exports a detector to one ONNX file: uint8 image in, boxes, scores and labels out."""

import sys

from mmthunder.tools.deployment.export_onnx import main

if __name__ == '__main__':
    sys.exit(main())
