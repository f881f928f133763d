import subprocess
import sys

import pytest


def test_command(repo, tmp_path):
    """Of a sum that the tests see with 2 and 2 alone, product and power survive, and difference and others do not."""
    pytest.importorskip('cosmic_ray', reason='needs requirements/mutation.txt')
    files = {
        'mmthunder/__init__.py': '',
        'mmthunder/sums.py': 'def add(a, b):\n    return a + b\n',
        'tests/test_sums.py': 'from mmthunder.sums import add\n\n\ndef test_add():\n    assert add(2, 2) == 4\n',
        'configs/empty.py': '',
        'tools/empty.py': '',
        'pyproject.toml': ''
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    script = repo / 'tools/misc/mutation.py'
    command = [sys.executable, str(script), 'mmthunder/sums.py']
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert sorted(line for line in lines if line.startswith('mmthunder')) == [
        f'mmthunder/sums.py:2: return a + b -> return a {operator} b  (ReplaceBinaryOperator_Add_{name})'
        for operator, name in (('*', 'Mul'), ('**', 'Pow'))
    ]
    # Of + there are -, *, /, // , % and **.
    assert '| mmthunder/sums.py | 6 | 2 | 33.3% |' in lines
    assert (tmp_path / 'mmthunder/sums.py').read_text() == files['mmthunder/sums.py']
