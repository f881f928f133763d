"""The error of annotation files."""

# Boxes are computed in float32, which does not represent every integer above this one.
LARGEST_PIXEL = 2**24


class AnnotationError(ValueError):
    """An annotation file or a class list is damaged or wrong; the message names file, entry and field in one line."""
