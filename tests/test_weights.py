"""The pretrained backbones of the repository, against their card."""

import hashlib
from pathlib import Path

import pytest
import torch

from mmthunder.models import SNet

WEIGHTS = Path(__file__).resolve().parents[1] / 'weights'
FILES = sorted(WEIGHTS.glob('*.pth'))


def test_size():
    assert FILES
    assert sum(path.stat().st_size for path in FILES) <= 8e6


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_file(path):
    """Its hash is in its name and in the card; every tensor of the SNet is there, and none is of the start."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.stem.endswith(f'-{digest[:8]}')
    card = (WEIGHTS / 'README.md').read_text()
    assert path.name in card and digest in card
    state = torch.load(path, map_location='cpu', weights_only=True)['state_dict']
    arch = path.name[len('snet') :].split('_')[0]
    SNet(arch).load_state_dict(state, strict=True)
    assert all(value.isfinite().all() for value in state.values())
    assert all(value.std() > 0 for key, value in state.items() if key.endswith('running_var'))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_init_cfg(path):
    """As a config names it."""
    arch = path.name[len('snet') :].split('_')[0]
    backbone = SNet(arch, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    backbone.init_weights()
    state = torch.load(path, weights_only=True)['state_dict']
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())
