"""Importing mmthunder changes no attribute of the packages that it builds on."""

import subprocess
import sys

import pytest

SCRIPT = """
import contextlib, importlib, pkgutil, sys
from types import FunctionType, ModuleType

import mmcv, mmdet, mmengine, torch

PACKAGES = ('mmdet', 'mmcv', 'mmengine', 'torch')


def is_theirs(name):
    return isinstance(name, str) and name.partition('.')[0] in PACKAGES


def import_mmthunder():
    import mmthunder

    names = [module.name for module in pkgutil.walk_packages(mmthunder.__path__, 'mmthunder.')]
    assert len(names) > 50
    for name in names:
        if not name.endswith('__main__'):
            importlib.import_module(name)


def attributes():
    '''All attributes of modules, and of the classes and functions in them; registries are objects and may grow.'''
    found, seen = {}, set()
    registries = ('torch.ops', 'torch.classes')  # in the form of modules
    todo = [module for name, module in list(sys.modules.items()) if is_theirs(name) and name not in registries]
    while todo:
        owner = todo.pop()
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        label = owner.__name__ if isinstance(owner, ModuleType) else f'{owner.__module__}.{owner.__qualname__}'
        members = dict(vars(owner))
        if isinstance(owner, FunctionType):
            members.update({name: getattr(owner, name) for name in ('__code__', '__defaults__', '__kwdefaults__')})
        for name, value in members.items():
            found[label, name, id(owner)] = value
            if isinstance(value, (classmethod, staticmethod)):
                value = value.__func__
            if isinstance(value, (type, FunctionType)) and is_theirs(getattr(value, '__module__', None)):
                todo.append(value)
    return found


if sys.argv[1:] == ['list']:
    import_mmthunder()
    print('\\n'.join(name for name in sys.modules if is_theirs(name)))
else:
    for name in sys.stdin.read().split():
        with contextlib.suppress(ModuleNotFoundError):  # torch puts objects without a file into sys.modules
            importlib.import_module(name)
    before = attributes()
    assert len(before) > 10**5
    import_mmthunder()
    after = attributes()
    for (owner, name, _), value in after.items():
        if (owner, name, _) not in before or before[owner, name, _] is not value:
            print(owner, name)
    for owner, name, _ in before.keys() - after.keys():
        print(owner, name)
"""


def run(*args: str, stdin: str = '') -> str:
    command = [sys.executable, '-W', 'ignore', '-c', SCRIPT, *args]
    result = subprocess.run(command, input=stdin, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope='module')
def changed() -> list:
    """Attributes that differ, by comparing two moments of one process that has imported the rest before."""
    modules = run('list')
    assert 'mmdet.datasets.coco' in modules
    return run('compare', stdin=modules).splitlines()


def test_no_patches(changed):
    assert changed == []
