"""Finds the images, annotations and splits of a data set in a directory."""

from .find import FORMATS, find_layout
from .layout import Layout, Part, Parts, read_lines
from .voc import read_ids

__all__ = ['FORMATS', 'Layout', 'Part', 'Parts', 'find_layout', 'read_ids', 'read_lines']
