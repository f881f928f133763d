from .loading import LoadNamedImage

__all__ = ['LoadNamedImage']
