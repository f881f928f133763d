import hashlib

import pytest
import torch
from torch import nn


@pytest.fixture
def publish(load_tool, tmp_path):
    tool = load_tool('model_converters/publish_backbone.py')

    def publish(content: object) -> list:
        torch.save(content, tmp_path / 'iter_1.pth')
        tool.main([str(tmp_path / 'iter_1.pth'), str(tmp_path / 'weights/net')])
        return list((tmp_path / 'weights').iterdir())

    return publish


def test_backbone_alone_named_after_its_hash(publish):
    model = nn.ModuleDict(dict(backbone=nn.BatchNorm2d(4), head=nn.Linear(500, 500)))
    (path,) = publish(dict(state_dict=model.state_dict(), optimizer=dict(state={}), meta=dict(iter=1)))
    assert path.name == f'net-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth'
    content = torch.load(path, weights_only=True)
    assert list(content) == ['state_dict']
    assert content['state_dict']['weight'].dtype == torch.float32
    model.backbone.load_state_dict(content['state_dict'], strict=True)
    assert path.stat().st_size < 20000


@pytest.mark.parametrize('content', [dict(state_dict={'head.weight': torch.zeros(1)}), dict(meta={})])
def test_checkpoint_without_backbone(publish, content, capsys, tmp_path):
    with pytest.raises(SystemExit):
        publish(content)
    error = capsys.readouterr().err
    assert 'iter_1.pth' in error and "'backbone.'" in error
    assert not (tmp_path / 'weights').exists()


@pytest.mark.parametrize('content', [None, 'no weights'])
def test_no_checkpoint(load_tool, tmp_path, capsys, content):
    """One line that names the file once."""
    path = tmp_path / 'iter_1.pth'
    if content:
        path.write_text(content)
    with pytest.raises(SystemExit):
        load_tool('model_converters/publish_backbone.py').main([str(path), str(tmp_path / 'net')])
    assert capsys.readouterr().err.splitlines()[-1].count('iter_1.pth') == 1
