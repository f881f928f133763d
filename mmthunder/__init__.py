"""ThunderNet and DetNet for MMDetection 3.x.

Importing this package alone loads nothing heavy. ``mmthunder.models`` and ``mmthunder.engine``
register their classes in mmdet's registries; a config reaches them, and ``mmthunder.datasets``, through
``custom_imports``.
"""

__version__ = '0.1.0'
