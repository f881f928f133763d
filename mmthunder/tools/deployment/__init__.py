"""Exporting, quantizing and comparing detectors."""
