from types import ModuleType

import cv2
import numpy as np
import pytest


@pytest.fixture(scope='module')
def tool(load_tool) -> ModuleType:
    return load_tool('analysis_tools/contact_sheet.py')


def test_three_pictures(tool, tmp_path):
    """Row by row; the place of the fourth stays white, and the last is scaled to the first one's size."""
    paths = []
    for grey, shape in ((10, (20, 40)), (20, (20, 40)), (30, (40, 80))):
        paths.append(str(tmp_path / f'{grey}.png'))
        cv2.imwrite(paths[-1], np.full((*shape, 3), grey, np.uint8))
    out = tmp_path / 'new/sheet.png'
    tool.main([*paths, '--columns', '2', '--out', str(out)])
    sheet = cv2.imread(str(out))
    assert sheet.shape == (2 * 28 + 8, 2 * 48 + 8, 3)
    assert (sheet[8:28, 8:48] == 10).all() and (sheet[8:28, 56:96] == 20).all() and (sheet[36:56, 8:48] == 30).all()
    assert (sheet == 255).sum() == sheet.size - 3 * 20 * 40 * 3


def test_columns(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(['a.png', '--columns', '0'])
    assert '--columns 0: give 1 or more' in capsys.readouterr().err
