"""Keys of the results of metrics, known before the first evaluation."""

from typing import List, Optional

from mmdet.evaluation import CocoMetric, VOCMetric
from mmengine.evaluator import BaseMetric, DumpResults

from mmthunder.evaluation import ThunderCocoMetric

COCO_AP = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
COCO_AR = ('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000')


def _coco_keys(metric: CocoMetric) -> List[str]:
    if metric.format_only:
        return []
    keys = []
    for name in metric.metrics:
        if name == 'proposal':
            keys += metric.metric_items or COCO_AR
        else:
            keys += [f'{name}_{item}' for item in metric.metric_items or COCO_AP]
    if metric.classwise and {'bbox', 'segm'} & set(metric.metrics):
        keys += [f'{name}_precision' for name in metric.dataset_meta['classes']]
    return keys


def metric_keys(metric: BaseMetric) -> Optional[List[str]]:
    """Return the keys under which a metric gives its results.

    Args:
        metric (BaseMetric): A metric of an evaluator that knows its dataset's ``metainfo``.

    Returns:
        list[str], optional: The keys with their prefix. The first one is the AP of all classes if the metric has it,
        and keys of single classes come last. None if only an evaluation can tell, as for metrics of other packages.
    """
    if type(metric) in (CocoMetric, ThunderCocoMetric) and 'proposal_fast' not in metric.metrics:
        keys = _coco_keys(metric)
    elif type(metric) is VOCMetric and metric.metric == 'mAP':
        keys = ['mAP', *(f'AP{int(iou_thr * 100):02d}' for iou_thr in metric.iou_thrs)]
    elif isinstance(metric, DumpResults):
        keys = []
    else:
        return None
    return [f'{metric.prefix}/{key}' if metric.prefix else key for key in keys]
