"""The name under which mmdet is installed."""

from importlib.metadata import PackageNotFoundError, version


def mmdet_distribution() -> str:
    """Name the distribution that has the package mmdet, which is what mim takes.

    Returns:
        str: ``'mmdet'``, or ``'onedl-mmdetection'`` where OneDL's fork is installed.
    """
    try:
        version('mmdet')
    except PackageNotFoundError:
        return 'onedl-mmdetection'
    return 'mmdet'
