from .detnet import DetNet
from .small_xception import SmallXception
from .snet import SNet

__all__ = ['DetNet', 'SNet', 'SmallXception']
