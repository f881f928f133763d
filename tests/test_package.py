import re
import subprocess
import sys
from pathlib import Path

import mmthunder


def test_import_is_light():
    """The package alone imports none of the frameworks; its runtime part must run without them."""
    code = (
        'import sys, mmthunder; assert mmthunder.__version__; '
        "print(sorted({'torch', 'torchvision', 'mmdet', 'mmcv', 'mmengine', 'cv2'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == '[]'


def test_requirements_are_met():
    """``pip check``, but for what mim is installed without, and for OpenCV's build without windows."""
    result = subprocess.run([sys.executable, '-m', 'pip', 'check'], capture_output=True, text=True)
    known = re.compile(r'No broken requirements|.* requires (opendatalab|opencv-python), which is not installed')
    assert [line for line in result.stdout.splitlines() if not known.match(line)] == []


def test_one_version(repo: Path):
    """The package, its changelog and its model index name the same release."""
    releases = re.findall(r'^## ([\d.]+)', (repo / 'CHANGELOG.md').read_text(), re.MULTILINE)
    assert releases[0] == mmthunder.__version__
    for metafile in repo.glob('configs/*/metafile.yml'):
        assert set(re.findall(r'Version: v(.+)', metafile.read_text())) == {releases[0]}
