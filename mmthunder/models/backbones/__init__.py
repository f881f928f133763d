from .snet import SNet

__all__ = ['SNet']
