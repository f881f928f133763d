from .any_box_coder import AnyBoxCoder
from .chunked_bbox_overlaps_2d import ChunkedBboxOverlaps2D

__all__ = ['AnyBoxCoder', 'ChunkedBboxOverlaps2D']
