import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['mmthunder/sums.py', '--timeout', '0'], '--timeout 0: must be at least 1'),
        (['mmthunder/sums.py'], 'mmthunder is not in the current folder'),
    ],
)
def test_invalid_arguments(load_tool, tmp_path, monkeypatch, capsys, arguments, message):
    pytest.importorskip('cosmic_ray', reason='needs requirements/mutation.txt')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        load_tool('misc/mutation.py').main(arguments)
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_missing_module(load_tool, tmp_path, monkeypatch, capsys):
    pytest.importorskip('cosmic_ray', reason='needs requirements/mutation.txt')
    tool = load_tool('misc/mutation.py')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tool, 'COPIED', ['sums.py'])
    monkeypatch.setattr(tool.torch, 'set_num_threads', lambda threads: None)
    monkeypatch.setattr(tool.gc, 'freeze', lambda: None)
    (tmp_path / 'sums.py').write_text('')
    with pytest.raises(SystemExit):
        tool.main(['mmthunder/sums.py'])
    assert 'mmthunder/sums.py: this file or its tests' in capsys.readouterr().err.splitlines()[-1]


def test_command(repo, tmp_path):
    """Of a sum that the tests see with 2 and 2 alone, product and power survive, and difference and others do not."""
    pytest.importorskip('cosmic_ray', reason='needs requirements/mutation.txt')
    files = {
        'mmthunder/__init__.py': '',
        'mmthunder/sums.py': 'def add(a, b):\n    return a + b\n',
        'tests/test_sums.py': 'from mmthunder.sums import add\n\n\ndef test_add():\n    assert add(2, 2) == 4\n',
        'configs/empty.py': '',
        'tools/empty.py': '',
        'pyproject.toml': '',
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
