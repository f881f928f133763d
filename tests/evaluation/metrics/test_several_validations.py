"""Tests of our COCO metric where the ground truth comes with the images."""

import torch

from mmthunder.evaluation import ThunderCocoMetric


def test_validations_after_the_first():
    """Each takes the ground truth of its own images."""
    metric = ThunderCocoMetric(metric='bbox')
    metric.dataset_meta = dict(classes=('a', 'b'))
    box = torch.tensor([[10.0, 10.0, 60.0, 60.0]])

    def validate(label: int) -> float:
        sample = dict(
            img_id=7,
            ori_shape=(100, 100),
            instances=[dict(bbox=box[0].tolist(), bbox_label=label, ignore_flag=0)],
            pred_instances=dict(bboxes=box, scores=torch.tensor([0.9]), labels=torch.tensor([1])),
        )
        metric.process({}, [sample])
        return metric.evaluate(1)['coco/bbox_mAP']

    assert validate(1) == 1
    assert validate(0) == 0
    assert validate(1) == 1
