"""SSD's head, with a prediction that works in mmdet 3.3."""

from mmdet.models.dense_heads import SSDHead
from mmdet.registry import MODELS


@MODELS.register_module()
class PredictingSSDHead(SSDHead):
    """mmdet's head of SSD; takes its arguments.

    When predicting, mmdet 3.3 reads ``loss_cls`` of every dense head, but ``SSDHead`` has none, so that training with
    its configs stops at the first validation (mmdet issue 11780).
    """

    loss_cls = None
