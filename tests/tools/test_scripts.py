"""The scripts in tools/ are thin: each calls the ``main`` of its module in mmthunder.tools."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / 'tools').rglob('*.py'))


def imported(path: Path) -> list:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Import, ast.ImportFrom))]


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.stem)
def test_calls_its_module(script):
    path = script.relative_to(ROOT / 'tools').with_suffix('')
    (found,) = (node for node in imported(script) if isinstance(node, ast.ImportFrom))
    assert found.module == '.'.join(['mmthunder.tools', *path.parts])
    assert [name.name for name in found.names] == ['main']
    module = ROOT / 'mmthunder/tools' / path.with_suffix('.py')
    assert 'main' in [node.name for node in ast.parse(module.read_text()).body if isinstance(node, ast.FunctionDef)]


def test_every_command_has_a_script():
    modules = (ROOT / 'mmthunder/tools').rglob('*.py')
    found = {path.relative_to(ROOT / 'mmthunder/tools') for path in modules if '\ndef main(' in path.read_text()}
    assert found == {path.relative_to(ROOT / 'tools') for path in SCRIPTS}


def test_modules_import_the_package_only():
    """Nothing is imported from the directory of the script, which is not there in an installed package."""
    stems = {path.stem for path in (ROOT / 'mmthunder/tools').rglob('*.py')}
    for path in (ROOT / 'mmthunder/tools').rglob('*.py'):
        for node in imported(path):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            assert not stems & set(names), path
