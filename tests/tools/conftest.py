"""What the tests of the tools share."""

from types import ModuleType
from typing import Callable, List

import pytest
import torch


@pytest.fixture(scope='session')
def table_cells() -> Callable[[str], List[List[str]]]:
    """A function that finds the rows of the Markdown tables in a text: their cells, without the lines below heads."""

    def cells(text: str) -> List[List[str]]:
        rows = [line.strip('|').split('|') for line in text.splitlines() if line.startswith('|')]
        return [[cell.strip() for cell in row] for row in rows if not set(''.join(row)) <= set(':- ')]

    return cells


@pytest.fixture(scope='session')
def tool(load_tool) -> ModuleType:
    return load_tool('model_converters/convert.py')


@pytest.fixture
def run(tool, tmp_path, capsys):
    """Converts an object; returns the exit code, both outputs' text and the path of the result."""

    def call(content: object, **kwargs) -> tuple:
        src, dst = tmp_path / 'src.pth', tmp_path / 'out/dst.pth'
        torch.save(content, src, **kwargs)
        code = tool.main([str(src), str(dst)])
        out, err = capsys.readouterr()
        return code, out, err, dst

    return call
