from .light_rpn_head import LightRPNHead
from .ssd_head import PredictingSSDHead

__all__ = ['LightRPNHead', 'PredictingSSDHead']
