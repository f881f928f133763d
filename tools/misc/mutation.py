"""Mutation testing: changes the code in one place after another and lists the changes that no test notices.

    python tools/misc/mutation.py mmthunder/models/layers/ps_roi_align.py mmthunder/models/necks/cem.py

Cosmic Ray makes the mutants. One of ``mmthunder/FOLDER/NAME.py`` meets the tests of ``tests/FOLDER/test_NAME.py`` in a
copy of the repository and in a fork of this process, since importing torch and mmdet takes longer than the tests.
"""

import argparse
import difflib
import gc
import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator, Optional, Sequence, Tuple

# Imported for the forks, which then import nothing but the package and its tests.
import mmdet.models  # noqa: F401
import pytest
import torch
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

# Operators of integers, which fail on floats and so say nothing of the tests, and `is` between numbers.
EXCLUDED = re.compile(r'_(RShift|LShift|BitOr|BitAnd|BitXor|Invert|(Eq|NotEq|Lt|LtE|Gt|GtE)_Is(Not)?)$')
COPIED = ('mmthunder', 'tests', 'configs', 'tools', 'pyproject.toml')


def make_mutants(source: str) -> Iterator[Tuple[str, str]]:
    """Change one place of a module in every way that there is.

    Args:
        source (str): The code.

    Yields:
        tuple[str, str]: Name of the operator and the changed code.
    """
    for name in operator_names():
        operator = get_operator(name)
        # Those with arguments replace variables, which one has to name.
        if operator.arguments() or EXCLUDED.search(name):
            continue
        for occurrence in itertools.count():
            mutant = mutate_code(source, operator(), occurrence)
            if mutant is None:
                break
            yield name.split('/')[1], mutant


def passes(folder: Path, tests: str, timeout: int) -> bool:
    """Run tests in a fork of this process.

    Args:
        folder (Path): Copy of the repository.
        tests (str): Path of the tests in it.
        timeout (int): Seconds after which the tests count as failed.

    Returns:
        bool: Whether all tests passed.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(timeout)
            os.chdir(folder)
            sys.path.insert(0, str(folder))
            sys.dont_write_bytecode = True
            os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'  # quicker
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            status = pytest.main(['-x', '-p', 'no:cacheprovider', tests])
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def describe(source: str, mutant: str) -> str:
    """Name the line that differs and what became of it."""
    changed = [
        line
        for line in difflib.unified_diff(source.splitlines(), mutant.splitlines(), n=0, lineterm='')
        if not line.startswith(('---', '+++'))
    ]
    line = re.search(r'\d+', changed[0]).group()
    return f'{line}: ' + ' -> '.join(text[1:].strip() for text in changed[1:])


def check_module(folder: Path, module: str, timeout: int) -> Tuple[int, int]:
    """Test all mutants of a module and print the survivors.

    Args:
        folder (Path): Copy of the repository, which is changed and put right again.
        module (str): Path of the module in it.
        timeout (int): Seconds that the tests of a mutant may take.

    Returns:
        tuple[int, int]: How many mutants there are, and how many survived.

    Raises:
        ValueError: If the module has no tests, or they fail without any change.
    """
    path = Path(module)
    tests = Path('tests', *path.parts[1:-1], f'test_{path.name}')
    if not (folder / path).is_file() or not (folder / tests).is_file():
        raise ValueError(
            f'{module}: this file or its tests {tests} do not exist; give paths from the repository like '
            'mmthunder/models/necks/cem.py'
        )
    if not passes(folder, str(tests), timeout):
        raise ValueError(
            f'{tests}: fails without any change, or takes more than {timeout} s; make it pass with '
            'pytest, or give --timeout'
        )
    source = (folder / path).read_text()
    total = survived = 0
    for name, mutant in make_mutants(source):
        (folder / path).write_text(mutant)
        total += 1
        if passes(folder, str(tests), timeout):
            survived += 1
            print(f'{module}:{describe(source, mutant)}  ({name})', flush=True)
    (folder / path).write_text(source)
    return total, survived


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Check the modules and print a table."""
    parser = argparse.ArgumentParser(description='List the changes of the code that no test notices.')
    parser.add_argument('modules', nargs='+', help='files below mmthunder/')
    parser.add_argument('--timeout', type=int, default=300, help='seconds for the tests of a mutant (default: 300)')
    args = parser.parse_args(argv)
    if args.timeout < 1:
        parser.error(f'--timeout {args.timeout}: must be at least 1')
    missing = [name for name in COPIED if not Path(name).exists()]
    if missing:
        parser.error(f'{missing[0]} is not in the current folder; call this in the root of the repository')
    # Forks and threads do not go together.
    torch.set_num_threads(1)
    # pytest collects garbage when it ends, which would take longer than the tests among all that torch and mmdet have.
    gc.freeze()
    start, rows = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            copy = shutil.copytree if Path(name).is_dir() else shutil.copy
            copy(name, Path(folder) / name)
        for module in args.modules:
            try:
                rows.append((module, *check_module(Path(folder), module, args.timeout)))
            except ValueError as error:
                parser.error(str(error))
    rows.append(('all', sum(row[1] for row in rows), sum(row[2] for row in rows)))
    print('\n| module | mutants | survived | share |\n|---|---|---|---|')
    for module, total, survived in rows:
        print(f'| {module} | {total} | {survived} | {survived / max(total, 1):.1%} |')
    print(f'\n{time.perf_counter() - start:.0f} s')


if __name__ == '__main__':
    main()
