"""What the tests of the tools share."""

import importlib.util
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope='session')
def tool(repo) -> ModuleType:
    """tools/model_converters/convert.py, which is a script and not in a package."""
    spec = importlib.util.spec_from_file_location('convert', repo / 'tools/model_converters/convert.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
