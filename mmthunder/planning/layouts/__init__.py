"""Finds the images, annotations and splits of a data set in a directory."""

from .find import FORMATS, find_layout
from .layout import Layout, Part, Parts

__all__ = ['FORMATS', 'Layout', 'Part', 'Parts', 'find_layout']
