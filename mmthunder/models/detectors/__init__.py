from .thundernet import ThunderNet

__all__ = ['ThunderNet']
