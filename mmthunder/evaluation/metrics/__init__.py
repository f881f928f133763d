from .thunder_coco_metric import ThunderCocoMetric

__all__ = ['ThunderCocoMetric']
