"""Tools that export nothing need none of the packages for exporting."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

TOOLS = [
    'analysis_tools.benchmark_latency',
    'analysis_tools.complexity',
    'analysis_tools.match_macs',
    'analysis_tools.visualize_modules',
    'deployment.compare_backends',
]
CODE = f"""
import importlib, sys
sys.modules.update(dict.fromkeys(('onnx', 'onnxruntime', 'onnxscript')))  # an import of these fails
for name in {TOOLS}:
    importlib.import_module('mmthunder.tools.' + name)
importlib.import_module('mmthunder.tools.analysis_tools.benchmark_latency').main()
"""


@pytest.mark.slow
def test_import_and_eager_latency(tiny_cfg: Config, tmp_path: Path):
    tiny_cfg.dump(tmp_path / 'tiny.py')
    options = ['--backends', 'eager', '--baselines', '--rounds', '1', '--warmup', '0']
    result = subprocess.run(
        [sys.executable, '-c', CODE, str(tmp_path / 'tiny.py'), *options],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert '| tiny ' in result.stdout
