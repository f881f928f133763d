from types import ModuleType

import pytest
from mmengine.config import Config, ConfigDict


@pytest.fixture
def tool(load_tool) -> ModuleType:
    return load_tool('analysis_tools/match_macs.py')


def test_widths(tool):
    """In SNet's proportion, even and growing."""
    widths = [width['stage_channels'] for width in tool.widths(ConfigDict(type='SNet', arch='49'))]
    assert {(60, 120, 240), (132, 264, 528), (248, 496, 992)} <= set(widths)
    for stages in widths:
        assert all(width % 2 == 0 for width in stages)
        assert abs(2 * stages[0] - stages[1]) <= 3 and abs(2 * stages[1] - stages[2]) <= 2
    assert widths == sorted(widths, key=lambda stages: stages[2])
    factors = [width['widen_factor'] for width in tool.widths(ConfigDict(type='MobileNetV2', widen_factor=1.0))]
    assert factors[0] == 0.25 and 0.56 in factors and factors == sorted(factors)


@pytest.mark.parametrize(('target', 'nearest'), [(0, [0, 1]), (260, [3, 2, 4]), (241, [2, 3, 4]), (10**9, [9, 8])])
def test_search(tool, monkeypatch, target, nearest):
    counted = []
    monkeypatch.setattr(tool, 'backbone_macs', lambda backbone: counted.append(backbone) or 100 * backbone['width'])
    candidates = [dict(width=width) for width in (0.5, 1, 2, 3, 4, 5, 6, 7, 8, 9)]
    found = tool.search(ConfigDict(type='SNet'), target, candidates)
    assert found == [(candidates[i], 100 * candidates[i]['width']) for i in nearest]
    assert len(counted) < len(candidates)


@pytest.mark.slow
def test_command_finds_the_width_of_a_config(repo, tool, table_cells, capsys):
    """The width in the file is the one that the search finds."""
    config = repo / 'configs/thundernet/ablations/thundernet_snet49-conv5-1024_4xb16-375k_coco.py'
    tool.main([str(config), '--like', str(repo / 'configs/thundernet/thundernet_snet49_4xb16-375k_coco.py')])
    output = capsys.readouterr().out
    assert output.splitlines()[0] == 'to meet: 51.2 MMACs'
    stages = tuple(Config.fromfile(config).model.backbone.stage_channels)
    assert table_cells(output)[1] == [
        'thundernet_snet49-conv5-1024_4xb16-375k_coco',
        f'stage_channels={stages}',
        '51.1',
        '-0.20%',
    ]


def test_missing_config(repo, tool, capsys):
    config = str(repo / 'configs/thundernet/thundernet_snet49_4xb16-375k_coco.py')
    for args in (['nowhere.py', '--mmacs', '50'], [config, '--like', 'nowhere.py']):
        with pytest.raises(SystemExit):
            tool.main(args)
        assert 'nowhere.py' in capsys.readouterr().err.splitlines()[-1]
