"""Complexity, latency and pictures of detectors."""
