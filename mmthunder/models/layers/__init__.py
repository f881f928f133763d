from .ps_roi_align import PSRoIAlign, ps_roi_align
from .spatial_attention import SpatialAttention

__all__ = ['PSRoIAlign', 'SpatialAttention', 'ps_roi_align']
