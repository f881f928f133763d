import pytest
import torch

from mmthunder.apis import detect, load_detector, set_score_thr


@pytest.mark.parametrize('nms', [dict(type='nms'), dict(type='soft_nms', min_score=0.3)])
def test_set_score_thr(make_detector, images, nms):
    """The lowest score of all detections, those that soft-NMS lowers among them."""
    detector = make_detector(test_cfg__rcnn=dict(score_thr=0.3, max_per_img=1000, nms=nms))
    for score_thr in (0.4, 0.15):
        set_score_thr(detector, score_thr)
        scores = detect(detector, images[0]).scores
        assert score_thr <= scores.min() < score_thr + 0.05


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
