import pytest
from mmengine.config import Config

from mmthunder.utils.test_resize import find_test_resize

RESIZE = dict(type='Resize', scale=(1333, 800), keep_ratio=True)


def config(*pipeline: dict) -> Config:
    return Config(dict(test_dataloader=dict(dataset=dict(type='CocoDataset', pipeline=list(pipeline)))))


def test_finds():
    cfg = config(dict(type='LoadImageFromFile'), RESIZE, dict(type='PackDetInputs'))
    assert find_test_resize(cfg) == RESIZE
    wrapped = Config(dict(test_dataloader=dict(dataset=dict(dataset=cfg.test_dataloader.dataset))))
    assert find_test_resize(wrapped) == RESIZE


@pytest.mark.parametrize(
    'pipeline', [(), (RESIZE, RESIZE), (dict(type='Resize', scale=0.5),), (dict(type='Resize', scale_factor=0.5),)]
)
def test_refuses(pipeline):
    with pytest.raises(ValueError, match=r'Resize steps .* exactly one with scale=\(width, height\)'):
        find_test_resize(config(*pipeline))
