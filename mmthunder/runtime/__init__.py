"""Runs exported detectors with NumPy, OpenCV and ONNX Runtime or OpenVINO, without torch or mmdet.

python -m mmthunder.runtime detector.onnx photographs/ --output results
"""

from .detector import Detections, Detector
from .errors import ModelFileError

__all__ = ['Detections', 'Detector', 'ModelFileError']
