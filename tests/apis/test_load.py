import logging

import pytest
import torch

from mmthunder.apis import detect, limit_detections, load_detector, use_greedy_nms


@pytest.mark.parametrize('nms', [dict(type='nms'), dict(type='soft_nms', min_score=0.3)])
def test_limit_detections(make_detector, images, nms):
    """The lowest score of all detections, those that soft-NMS lowers among them."""
    detector = make_detector(test_cfg__rcnn=dict(score_thr=0.3, max_per_img=1000, nms=nms))
    for score_thr in (0.4, 0.15):
        limit_detections(detector, score_thr)
        scores = detect(detector, images[0]).scores
        assert score_thr <= scores.min() < score_thr + 0.05
    assert len(scores) > 5
    limit_detections(detector, 0.15, max_per_img=5)
    assert len(detect(detector, images[0]).scores) == 5


def test_checkpoint(tiny_cfg, tmp_path):
    """Its own classes count, and otherwise those of the config's data."""
    state_dict = load_detector(tiny_cfg).state_dict()
    state_dict['roi_head.bbox_head.fc_cls.bias'] += 1
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=state_dict, meta=dict(dataset_meta=dict(classes=('cat',)))), path)
    detector = load_detector(tiny_cfg, path)
    assert detector.dataset_meta == dict(classes=('cat',)) and not detector.training
    assert all(torch.equal(value, state_dict[key]) for key, value in detector.state_dict().items())
    torch.save(state_dict, path)
    assert load_detector(tiny_cfg, path).dataset_meta['classes'] == tiny_cfg.metainfo.classes


def test_checkpoint_of_another_architecture(tiny_cfg, tmp_path):
    state_dict = load_detector(tiny_cfg).state_dict()
    del state_dict['rpn_head.rpn_cls.bias']
    torch.save(state_dict, tmp_path / 'weights.pth')
    with pytest.raises(ValueError, match=r'weights.pth: .* another architecture .* 1 keys are missing \(rpn_head'):
        load_detector(tiny_cfg, tmp_path / 'weights.pth')


def test_random_weights(tiny_cfg):
    """The same ones in each call, and no pretrained backbone is looked for."""
    tiny_cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')
    first, second = (load_detector(tiny_cfg).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_metadata_of_older_checkpoints(tiny_cfg, tmp_path):
    """Upper-case keys, and those of mmdet 2.x."""
    state_dict = load_detector(tiny_cfg).state_dict()
    path = tmp_path / 'weights.pth'
    for meta in (dict(dataset_meta=dict(CLASSES=('cat',))), dict(CLASSES=('cat',))):
        torch.save(dict(state_dict=state_dict, meta=meta), path)
        assert load_detector(tiny_cfg, path).dataset_meta == dict(classes=('cat',))


def test_without_test_set(tiny_cfg):
    """None and absence are one; the classes are those of the validation or the training set."""
    expected = tiny_cfg.metainfo.classes
    for split in ('test', 'val'):
        tiny_cfg[f'{split}_dataloader'] = None
        assert load_detector(tiny_cfg).dataset_meta['classes'] == expected
        tiny_cfg.pop(f'{split}_dataloader')
        assert load_detector(tiny_cfg).dataset_meta['classes'] == expected
    tiny_cfg.train_dataloader = None
    with pytest.raises(ValueError, match='the classes are unknown'):
        load_detector(tiny_cfg)


def test_logging_is_enabled_again(tiny_cfg, monkeypatch):
    """Whatever happens in the initialisation."""

    def fail(*args) -> None:
        assert logging.root.manager.disable == logging.INFO
        raise KeyboardInterrupt

    monkeypatch.setattr('mmengine.model.BaseModule.init_weights', fail)
    with pytest.raises(KeyboardInterrupt):
        load_detector(tiny_cfg)
    assert logging.root.manager.disable == logging.NOTSET


def test_greedy_nms(make_detector):
    detector = make_detector(test_cfg__rcnn__nms=dict(type='soft_nms', iou_threshold=0.4))
    assert use_greedy_nms(detector).roi_head.test_cfg.nms == dict(type='nms', iou_threshold=0.4)
    assert detector.roi_head.test_cfg.nms.type == 'soft_nms'
    detector.roi_head.test_cfg.nms = None
    for other in (detector, detector.backbone):
        with pytest.raises(ValueError, match='has no test_cfg.rcnn.nms with an iou_threshold'):
            use_greedy_nms(other)
