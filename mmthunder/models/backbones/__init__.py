from .detnet import DetNet
from .snet import SNet

__all__ = ['DetNet', 'SNet']
