"""demo/, as the README begins: two commands on a machine that has nothing of PyTorch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmthunder.runtime import Detector

PHOTOGRAPHS = {'BloodImage_00021.jpg', 'BloodImage_00031.jpg', 'BloodImage_00068.jpg'}
WBC = (330, 302, 494, 438)  # px, of the first photograph, in BCCD's annotations


def test_files(repo: Path):
    assert {path.name for path in (repo / 'demo').glob('*.jpg')} == PHOTOGRAPHS
    assert (repo / 'demo/snet49_bccd.onnx').stat().st_size <= 3e6
    assert 'MIT License' in (repo / 'demo/LICENSE').read_text()
    card = (repo / 'demo/README.md').read_text()
    assert all(name in card for name in PHOTOGRAPHS)
    # The lines of code that torch's exporter notes have paths of the machine that wrote the file.
    assert b'site-packages' not in (repo / 'demo/snet49_bccd.onnx').read_bytes()


def test_detections(repo: Path):
    """The white blood cell of a photograph at the place of its annotation in BCCD, and most red ones."""
    pytest.importorskip('onnxruntime', reason='needs ONNX Runtime')
    detector = Detector(repo / 'demo/snet49_bccd.onnx', backend='onnxruntime')
    assert list(detector.classes) == ['Platelets', 'RBC', 'WBC']
    detections = detector(detector.read(str(repo / 'demo/BloodImage_00021.jpg')))
    sure = detections.scores >= 0.5
    labels = [detector.classes[label] for label in detections.labels[sure]]
    assert labels.count('WBC') == 1
    assert 10 <= labels.count('RBC') <= 20 and 1 <= labels.count('Platelets') <= 3
    x1, y1, x2, y2 = detections.boxes[sure][labels.index('WBC')]
    assert (x1, y1, x2, y2) == pytest.approx(WBC, abs=15)


@pytest.mark.slow
def test_readmes_two_commands(repo: Path, tmp_path: Path):
    """In a fresh environment, from a clone."""
    python = tmp_path / 'venv/bin/python'
    subprocess.run([sys.executable, '-m', 'venv', str(tmp_path / 'venv')], check=True)
    subprocess.run(['git', 'clone', '-q', '--no-hardlinks', str(repo), str(tmp_path / 'clone')], check=True)
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}

    def run(*args: str) -> subprocess.CompletedProcess:
        return subprocess.run([str(python), *args], cwd=tmp_path / 'clone', env=env, capture_output=True, text=True)

    installed = run('-m', 'pip', 'install', '-q', '-e', '.[onnxruntime]')
    if 'Could not find a version' in installed.stderr and 'connection broken' in installed.stderr:
        pytest.skip('needs a package index')
    assert installed.returncode == 0, installed.stderr
    ran = run('-m', 'mmthunder.runtime', 'demo/snet49_bccd.onnx', 'demo', '--output', 'results')
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / 'clone/results/detections.json').read_text())
    assert {detection['file_name'] for detection in found if detection['score'] >= 0.5} == PHOTOGRAPHS
    assert {path.name for path in (tmp_path / 'clone/results/pictures').iterdir()} == PHOTOGRAPHS
    assert run('-c', 'import torch').returncode == 1
