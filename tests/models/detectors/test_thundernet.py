import math

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate

from mmthunder.models import ThunderNet

LOSSES = {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox'}


@pytest.fixture
def model(tiny_model) -> ThunderNet:
    model = MODELS.build(tiny_model)
    model.init_weights()
    return model


def make_batch(model: ThunderNet, shapes, num_items=None, training: bool = False) -> dict:
    data = demo_mm_inputs(len(shapes), [[3, *shape] for shape in shapes], num_items, num_classes=6)
    return model.data_preprocessor(data, training)


def total(losses: dict) -> torch.Tensor:
    """Sum what training minimises."""
    values = [value for name, value in losses.items() if 'loss' in name]
    return sum(sum(value) if isinstance(value, list) else value for value in values)


def check_losses(losses: dict) -> torch.Tensor:
    assert LOSSES <= set(losses)
    assert torch.isfinite(total(losses))
    return total(losses)


def check_results(results, shapes) -> None:
    """Boxes inside their images, valid classes and scores."""
    assert len(results) == len(shapes)
    for result, (height, width) in zip(results, shapes):
        instances = result.pred_instances
        assert len(instances) <= 100
        assert instances.bboxes.shape == (len(instances), 4)
        assert torch.isfinite(instances.bboxes).all()
        limits = torch.tensor([width, height] * 2) + 1e-3 * max(height, width)
        assert (instances.bboxes >= -1e-3).all() and (instances.bboxes <= limits).all()
        assert ((instances.scores > 0) & (instances.scores <= 1)).all()
        assert ((instances.labels >= 0) & (instances.labels < 6)).all()


def test_neck_of_several_maps(tiny_model):
    tiny_model.neck = dict(type='FPN', in_channels=[24, 40], out_channels=245, num_outs=2)
    with pytest.raises(ValueError, match='neck FPN .* 2 feature maps'):
        MODELS.build(tiny_model).extract_feat(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize('size', [(64, 96), (65, 33)])
def test_extract_feat(model, size):
    feat, rpn_feat = model.eval().extract_feat(torch.randn(2, 3, *size))
    cells = [math.ceil(side / 16) for side in size]
    assert feat.shape == (2, 245, *cells)
    assert rpn_feat.shape == (2, 256, *cells)


def test_parts_are_wired_as_in_the_paper(model):
    """RPN: CEM, trunk, outputs. RoI head: CEM times the attention that reads the trunk's map."""
    inputs = torch.randn(1, 3, 64, 64)
    model.eval()
    feat, rpn_feat = model.extract_feat(inputs)
    (cem,) = model.neck(model.backbone(inputs))
    torch.testing.assert_close(rpn_feat, model.rpn_head.trunk(cem))
    torch.testing.assert_close(feat, cem * model.sam.theta(rpn_feat))

    # A change of the attention reaches the RoI head and not the RPN.
    batch = make_batch(model, [(64, 64)])
    rpn_before = model.rpn_head(model.extract_feat(batch['inputs']))
    rois = torch.tensor([[0.0, 4.0, 4.0, 50.0, 60.0]])
    roi_before = model.roi_head._bbox_forward(model.extract_feat(batch['inputs']), rois)['cls_score']
    model.sam.theta.bn.bias.data -= 3
    feats = model.extract_feat(batch['inputs'])
    torch.testing.assert_close(model.rpn_head(feats), rpn_before)
    assert not torch.allclose(model.roi_head._bbox_forward(feats, rois)['cls_score'], roi_before)


def test_without_sam(tiny_model):
    tiny_model.sam = None
    model = MODELS.build(tiny_model).eval()
    assert not any('sam' in name for name in model.state_dict())
    inputs = torch.randn(1, 3, 64, 64)
    feat, _ = model.extract_feat(inputs)
    torch.testing.assert_close(feat, model.neck(model.backbone(inputs))[0])
    batch = make_batch(model, [(64, 64)] * 2, training=True)
    check_losses(model.train().loss(batch['inputs'], batch['data_samples'])).backward()


def test_tensor(model):
    batch = make_batch(model, [(64, 96)] * 2)
    ((cls_score, bbox_pred),) = model.eval()(batch['inputs'], batch['data_samples'], mode='tensor')
    # Logits of 6 classes and background; class-agnostic deltas.
    assert cls_score.shape == (len(bbox_pred), 7) and bbox_pred.shape[1] == 4
    assert 0 < len(cls_score) <= 2 * 200
    assert cls_score.isfinite().all() and bbox_pred.isfinite().all()


@pytest.mark.parametrize(
    ('shapes', 'num_items'),
    [
        ([(96, 96)] * 2, [3, 5]),
        ([(96, 64), (64, 96)], [2, 1]),
        ([(96, 96)], [2]),
        ([(96, 96)] * 2, [0, 3]),
        ([(96, 96)] * 2, [0, 0]),
        ([(96, 96)], [0]),
    ],
)
def test_loss(model, shapes, num_items):
    """Batches of two and of one, images without objects among them and alone."""
    batch = make_batch(model, shapes, num_items, training=True)
    losses = model.train()(batch['inputs'], batch['data_samples'], mode='loss')
    check_losses(losses).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without
    unmoved = {name for name, p in model.named_parameters() if not p.grad.any()}
    # Without objects there is no box to regress, and random small boxes may match no anchor; everything
    # else learns background.
    regression = 'reg' if sum(num_items) == 0 else 'rpn_reg'
    assert unmoved <= {name for name, _ in model.named_parameters() if regression in name}


def test_training_reduces_the_loss(model):
    batch = make_batch(model, [(96, 96)] * 2, [2, 3], training=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    losses = []
    for _ in range(15):
        loss = total(model.train().loss(batch['inputs'], batch['data_samples']))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_loss_in_bfloat16(model):
    batch = make_batch(model, [(96, 96)] * 2, [3, 2], training=True)
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.train().loss(batch['inputs'], batch['data_samples'])
    check_losses(losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    'shapes', [[(96, 96)], [(96, 64), (64, 80)], [(1, 1)], [(1, 200)], [(200, 1), (7, 1)], [(1000, 1600)]]
)
def test_predict(model, shapes):
    batch = make_batch(model, shapes)
    with torch.no_grad():
        results = model.eval().predict(batch['inputs'], batch['data_samples'], rescale=False)
    assert sum(len(result.pred_instances) for result in results) > 0
    check_results(results, shapes)


def test_predict_in_bfloat16(model):
    batch = make_batch(model, [(64, 96)])
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16):
        results = model.eval().predict(batch['inputs'], batch['data_samples'], rescale=False)
    check_results(results, [(64, 96)])
    instances = results[0].pred_instances
    assert len(instances) > 0
    assert instances.bboxes.dtype == instances.scores.dtype == torch.float32


@pytest.mark.parametrize(
    ('shape', 'channels'), [((40, 60), 1), ((40, 60), 3), ((50, 1), 3), ((1, 50), 1), ((1500, 2200), 3)]
)
def test_predict_image_files(model, repo, tmp_path, shape, channels):
    """Grayscale, thin and large files, through the config's own test pipeline."""
    file = str(tmp_path / 'image.png')
    cv2.imwrite(file, np.random.default_rng(0).integers(0, 255, (*shape, channels), dtype=np.uint8))
    pipeline = Config.fromfile(repo / 'configs/thundernet/thundernet_snet49_1xb8-5e_shapes.py').test_pipeline
    pipeline = Compose([step for step in pipeline if step.type != 'LoadAnnotations'])
    data = pseudo_collate([pipeline(dict(img_path=file, img_id=0))])
    with torch.no_grad():
        (result,) = model.eval().test_step(data)
    assert isinstance(result, DetDataSample)
    assert result.ori_shape == shape
    check_results([result], [shape])


def test_no_proposals(model, monkeypatch):
    """The RoI head is given no RoI where the RPN keeps none."""
    model.test_cfg.rpn.min_bbox_size = 10000
    model.rpn_head.test_cfg.min_bbox_size = 10000
    batch = make_batch(model, [(64, 64)] * 2)
    with torch.no_grad():
        results = model.eval().predict(batch['inputs'], batch['data_samples'])
    assert [len(result.pred_instances) for result in results] == [0, 0]


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        ({'neck.out_channels': 196}, 'rpn_head.in_channels is 245, but neck.out_channels is 196; make them equal'),
        ({'rpn_head.in_channels': 196}, 'rpn_head.in_channels is 196, but neck.out_channels is 245'),
        ({'roi_head.bbox_roi_extractor.out_channels': 10}, 'out_channels times the bins is 490, but neck.out_channels'),
        (
            {'roi_head.bbox_roi_extractor.roi_layer.output_size': 5},
            'times the bins is 125, but neck.out_channels is 245',
        ),
        (
            {'roi_head.bbox_head.in_channels': 10},
            'bbox_head.in_channels is 10, but bbox_roi_extractor.out_channels is 5',
        ),
        ({'sam.in_channels': 128}, 'sam.in_channels is 128, but rpn_head.feat_channels is 256'),
        ({'rpn_head.feat_channels': 128}, 'sam.in_channels is 256, but rpn_head.feat_channels is 128'),
        ({'sam.out_channels': 128}, 'sam.out_channels is 128, but neck.out_channels is 245'),
        ({'roi_head.bbox_head.roi_feat_size': 5}, r'roi_feat_size is \(5, 5\), but roi_layer.output_size is \(7, 7\)'),
        ({'roi_head.bbox_roi_extractor.featmap_strides': [32]}, 'strides is 32, but anchor_generator.strides is 16'),
    ],
)
def test_parts_that_do_not_fit(tiny_model, changes, match):
    cfg = Config(dict(model=tiny_model))
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    with pytest.raises(ValueError, match=f'ThunderNet: .*{match}'):
        MODELS.build(cfg.model)
