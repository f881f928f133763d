from .expand_min_iou_random_crop import ExpandMinIoURandomCrop
from .loading import LoadTruncatedImageFromFile

__all__ = ['ExpandMinIoURandomCrop', 'LoadTruncatedImageFromFile']
