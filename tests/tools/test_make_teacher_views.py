import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmpretrain', reason='needs mmpretrain')
pytest.importorskip('openvino', reason='needs openvino')

import mmthunder.pretrain
from mmthunder.pretrain import EfficientNetLite, TeacherViews, build_lite0


@pytest.fixture
def tool(load_tool):
    return load_tool('misc/make_teacher_views.py')


@pytest.fixture
def images(tmp_path):
    (tmp_path / 'images/nested').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ('a.png', 'nested/b.PNG'):
        small = rng.integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(tmp_path / 'images' / name), cv2.resize(small, (200, 150)))
    return tmp_path / 'images'


@pytest.mark.slow
def test_outputs_are_the_teachers(tool, images, tmp_path, monkeypatch):
    """Of the views that the student sees at half the side: those of the teacher at the full side."""
    torch.manual_seed(0)
    network = torch.nn.ModuleDict(dict(backbone=EfficientNetLite(), fc=torch.nn.Linear(1280, 1000)))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    network.backbone(torch.rand(2, 3, 193, 193))  # statistics with which the maps of random weights do not vanish
    teacher = build_lite0(network.state_dict(), (4, 5, 6))
    monkeypatch.setattr(mmthunder.pretrain, 'load_lite0', lambda out_indices: teacher)
    views = []
    original = tool.crop_batches
    monkeypatch.setattr(tool, 'crop_batches', lambda *args: map(lambda v: views.append(v) or v, original(*args)))
    out = tmp_path / 'views'
    tool.main([str(out), '--source', str(images), '2', '0.3', '1', '--batch-size', '3'])
    views = np.concatenate(views)
    assert views.shape == (4, 193, 193, 3)
    with torch.no_grad():
        expected = tool.Outputs().eval()(torch.from_numpy(views.transpose(0, 3, 1, 2).astype(np.float32)))
    for name, value in zip(tool.OUTPUTS, expected):
        np.testing.assert_allclose(np.load(out / f'{name}.npy'), value, rtol=2e-3, atol=2e-3 * value.abs().max().item())
    small = np.load(out / 'images.npy')
    assert small.shape == (4, 97, 97, 3)
    assert np.abs(small.astype(int) - views[:, ::2, ::2].astype(int)).mean() < 3  # the same colours at the same places
    assert len(TeacherViews(out)) == 4


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (['two', '0.3', '1'], ['two 0.3 1']),
        (['0', '0.3', '1'], ['VIEWS']),
        (['1', '0.6', '0.3'], ['MIN <= MAX']),
        (['1', '0.3', '2'], ['MIN <= MAX']),
    ],
)
def test_wrong_source(tool, images, tmp_path, capsys, args, words):
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path / 'views'), '--source', str(images), *args])
    error = capsys.readouterr().err
    assert all(word in error for word in [str(images), *words])
    assert not (tmp_path / 'views').exists()


def test_directory_without_images(tool, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path / 'views'), '--source', str(tmp_path / 'empty'), '1', '0.3', '1'])
    assert str(tmp_path / 'empty') in capsys.readouterr().err
