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


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['there.png', '--columns', '0'], '--columns: 0: must be at least 1'),
        (['there.png', 'missing.png'], 'pictures: missing.png: not a readable image'),
        (['text.png'], 'pictures: text.png: not a readable image'),
    ],
)
def test_invalid_arguments(tool, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite('there.png', np.zeros((8, 8, 3), np.uint8))
    (tmp_path / 'text.png').write_text('text')
    with pytest.raises(SystemExit):
        tool.main(arguments)
    assert message in capsys.readouterr().err.splitlines()[-1]
