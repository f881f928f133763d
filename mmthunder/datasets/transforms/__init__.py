from .loading import LoadTruncatedImageFromFile

__all__ = ['LoadTruncatedImageFromFile']
