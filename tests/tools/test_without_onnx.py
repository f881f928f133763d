"""Tools that export nothing need none of the packages for exporting."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

TOOLS = [
    'benchmark_latency',
    'compare_backends',
    'complexity',
    'match_macs',
    'visualize_modules',
]
CODE = f"""
import importlib, sys
sys.modules.update(dict.fromkeys(('onnx', 'onnxruntime', 'onnxscript')))  # an import of these fails
for name in {TOOLS}:
    importlib.import_module(name)
importlib.import_module('benchmark_latency').main()
"""


@pytest.mark.slow
def test_import_and_eager_latency(repo: Path, tiny_cfg: Config, tmp_path: Path):
    tiny_cfg.dump(tmp_path / 'tiny.py')
    folders = [repo, repo / 'tools/analysis_tools', repo / 'tools/deployment']
    options = ['--backends', 'eager', '--baselines', '--rounds', '1', '--warmup', '0']
    result = subprocess.run(
        [sys.executable, '-c', CODE, str(tmp_path / 'tiny.py'), *options],
        capture_output=True,
        text=True,
        timeout=120,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, folders))),
    )
    assert result.returncode == 0, result.stderr
    assert '| tiny ' in result.stdout
