"""The benchmarks run, each test of them once and nothing timed."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config


@pytest.mark.slow
def test_run(repo: Path, tiny_cfg: Config, tmp_path: Path):
    tiny_cfg.dump(tmp_path / 'tiny.py')
    chosen = 'transforms or parts or growth and 224 or latency and (size-224 or proposals-50 or crowded-20)'
    result = subprocess.run(
        [sys.executable, '-m', 'pytest', 'benchmarks', '--config', str(tmp_path / 'tiny.py'), '-k', chosen]
        + ['--benchmark-max-time=0', '--benchmark-min-rounds=1', f'--benchmark-json={tmp_path}/out.json'],
        cwd=repo,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    command = [sys.executable, str(repo / 'benchmarks/table.py'), str(tmp_path / 'out.json')]
    table = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    heads = [line.strip('|').split() for line in table.splitlines() if 'median' in line]
    assert len(heads) == 5 and sum('peak,' in head for head in heads) == 4


@pytest.mark.slow
def test_require_idle(repo: Path):
    """Another process that computes ends the run before it begins."""
    with subprocess.Popen([sys.executable, '-c', 'while True: pass']) as busy:
        try:
            result = subprocess.run(
                [sys.executable, '-m', 'pytest', 'benchmarks', '--collect-only', '--require-idle'],
                cwd=repo,
                capture_output=True,
                text=True,
            )
        finally:
            busy.kill()
    assert result.returncode == pytest.ExitCode.USAGE_ERROR and 'other processes use' in result.stderr
