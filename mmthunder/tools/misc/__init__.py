"""Making datasets."""
