"""Tells to what size a config's test pipeline brings images."""

from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict


def find_test_resize(cfg: Config) -> ConfigDict:
    """Find the step of the test pipeline that gives images their size.

    Args:
        cfg (Config): The config.

    Returns:
        ConfigDict: The ``Resize`` step; its ``scale`` is (width, height) in pixels.

    Raises:
        ValueError: If the test pipeline does not have exactly one ``Resize`` with such a scale.
    """
    steps = [step for step in get_test_pipeline_cfg(cfg) if step['type'] == 'Resize' and 'scale' in step]
    if len(steps) != 1 or isinstance(steps[0].scale, (int, float)):
        raise ValueError(
            f'{cfg.filename}: the test pipeline has {len(steps)} Resize steps with a scale, but exactly '
            'one with scale=(width, height) tells the size of the input; give the size on the command '
            'line'
        )
    return steps[0]
