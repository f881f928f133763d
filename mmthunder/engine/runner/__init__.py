from .runner import ThunderRunner

__all__ = ['ThunderRunner']
