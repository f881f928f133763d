"""Conversion of weights."""
