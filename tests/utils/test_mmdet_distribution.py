from importlib.metadata import distribution

from mmthunder.utils.mmdet_distribution import mmdet_distribution


def test_it_has_mmdet():
    files = distribution(mmdet_distribution()).files
    assert any(path.parts == ('mmdet', '__init__.py') for path in files)
