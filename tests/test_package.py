import subprocess
import sys


def test_import_is_light():
    """The package alone imports none of the frameworks; its runtime part must run without them."""
    code = (
        'import sys, mmthunder; assert mmthunder.__version__; '
        "print(sorted({'torch', 'torchvision', 'mmdet', 'mmcv', 'mmengine', 'cv2'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == '[]'
