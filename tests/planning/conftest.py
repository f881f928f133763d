"""What the tests of planning share."""

from pathlib import Path
from typing import Callable

import pytest
from layout_data import LAYOUTS, Splits, make_photos


@pytest.fixture(scope='session')
def photos() -> Splits:
    """The images of the small data set."""
    return make_photos()


@pytest.fixture
def write(photos: Splits, tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes the data set in a layout."""

    def write_layout(layout: str) -> Path:
        root = tmp_path / 'data'
        LAYOUTS[layout](photos, root)
        return root

    return write_layout
