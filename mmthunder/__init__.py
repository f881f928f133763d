"""ThunderNet and DetNet for MMDetection 3.x.

Importing this package alone loads nothing heavy. ``mmthunder.models`` and ``mmthunder.engine``
register their classes in mmdet's registries; a config reaches them, and ``mmthunder.datasets``, through
``custom_imports``.
"""

from pathlib import Path

__version__ = '0.2.0'


def config_path(name: str) -> str:
    """Return the path of one of this package's configs, wherever the package is installed.

    mmengine's ``package::path`` knows OpenMMLab's packages only, but ``_base_`` may be an expression. So a config
    anywhere on disk inherits one of these with ``_base_ = __import__('mmthunder').config_path('snet49_shapes')``.

    Args:
        name (str): File name, or path below ``configs/``, with or without ``.py``.

    Returns:
        str: Absolute path.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    configs = Path(__file__).resolve().parent / '.mim' / 'configs'
    pattern = name if name.endswith('.py') else f'{name}.py'
    found = [configs / pattern] if (configs / pattern).is_file() else sorted(configs.rglob(Path(pattern).name))
    found = [path for path in found if path.as_posix().endswith(f'/{pattern}')]
    if len(found) != 1:
        listed = ': ' + ', '.join(str(path.relative_to(configs)) for path in found) if found else ''
        raise FileNotFoundError(
            f'{name}: {len(found)} configs of mmthunder have this name{listed}; '
            f'give a file name or a path below {configs}'
        )
    return str(found[0].resolve())


def weights_path(name: str) -> str:
    """Return the path of pretrained weights of this package, wherever it is installed.

    A config takes them with ``init_cfg=dict(type='Pretrained', checkpoint=__import__('mmthunder').weights_path(...))``.

    Args:
        name (str): File name without the hash at its end, for example ``snet49_distilled``.

    Returns:
        str: Absolute path.

    Raises:
        FileNotFoundError: If there are no such weights.
    """
    weights = Path(__file__).resolve().parent / '.mim' / 'weights'
    found = {path.stem.rpartition('-')[0]: path for path in sorted(weights.glob('*.pth'))}
    if name not in found:
        raise FileNotFoundError(f'{name}: mmthunder has no such weights; there are {", ".join(found) or "none"}')
    return str(found[name].resolve())
