"""What the tests of the examples share."""

import runpy
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def compare_results(repo: Path) -> dict:
    """The functions of compare_results.py."""
    return runpy.run_path(str(repo / 'examples/compare_results.py'))
