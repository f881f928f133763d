"""The error of annotation files."""

# Beyond this float32, in which boxes are computed, does not have every whole number.
LARGEST_PIXEL = 2**24


class AnnotationError(ValueError):
    """An annotation file is damaged or wrong; the message names the file, the entry and the field in one line."""
