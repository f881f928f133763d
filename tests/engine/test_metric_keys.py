import pytest
import torch
from mmdet.evaluation import CocoMetric, VOCMetric
from mmdet.models import TwoStageDetector
from mmengine.evaluator import BaseMetric
from mmengine.structures import InstanceData

from mmthunder.engine.metric_keys import metric_keys


def truth(self, batch_inputs, batch_data_samples, rescale=True) -> list:
    """Predict the annotations."""
    for sample in batch_data_samples:
        boxes, labels = sample.gt_instances.bboxes, sample.gt_instances.labels
        sample.pred_instances = InstanceData(bboxes=boxes, labels=labels, scores=torch.ones(len(boxes)))
    return batch_data_samples


@pytest.fixture
def cfg(tiny_cfg, monkeypatch):
    """A validation of predictions that are right."""
    monkeypatch.setattr(TwoStageDetector, 'predict', truth)
    tiny_cfg.val_dataloader.num_workers = 0
    return tiny_cfg


COCO = dict(type='CocoMetric', metric='bbox')
VOC = dict(type='VOCMetric', metric='mAP')


@pytest.mark.parametrize(
    ('metric', 'first'),
    [
        (COCO, 'coco/bbox_mAP'),
        (dict(COCO, classwise=True, prefix='other'), 'other/bbox_mAP'),
        (dict(COCO, type='ThunderCocoMetric', classwise=True), 'coco/bbox_mAP'),
        (dict(COCO, metric='proposal'), 'coco/AR@100'),
        (dict(COCO, metric_items=['mAP_50', 'AR@100']), 'coco/bbox_mAP_50'),
        (dict(COCO, format_only=True, outfile_prefix='x'), None),
        (VOC, 'pascal_voc/mAP'),
        (dict(VOC, iou_thrs=[0.5, 0.75]), 'pascal_voc/mAP'),
        (dict(type='DumpResults', out_file_path='x.pkl'), None),
    ],
)
def test_keys_are_those_of_an_evaluation(cfg, build_runner, monkeypatch, tmp_path, metric, first):
    """Of real ones, whose first key may be that of a class."""
    monkeypatch.chdir(tmp_path)
    if metric['type'].endswith('CocoMetric'):
        metric = dict(metric, ann_file=cfg.val_evaluator.ann_file)
    cfg.val_evaluator = metric
    runner = build_runner(cfg)
    results = runner.val()
    (metric,) = runner.val_loop.evaluator.metrics
    keys = metric_keys(metric)
    assert sorted(keys) == sorted(results) and next(iter(keys), None) == first


def test_unknown():
    """A subclass may have other keys."""

    class OwnMetric(BaseMetric):
        default_prefix = 'own'

        def process(self, *args) -> None:
            pass

        def compute_metrics(self, results) -> dict:
            return {}

    assert metric_keys(OwnMetric()) is None
    assert metric_keys(type('Derived', (CocoMetric,), {})()) is None
    assert metric_keys(VOCMetric(metric='recall')) is None
