"""The error of comparisons."""


class ComparisonError(ValueError):
    """Why detectors cannot be compared, in a line for the person who wants it."""
