"""The command that plans a config."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config


@pytest.fixture(scope='module')
def data(make_shapes, tmp_path_factory) -> Path:
    """Enough images for each class to be in both splits."""
    out = tmp_path_factory.mktemp('data') / 'shapes'
    make_shapes.main(['--out', str(out), '--train', '24', '--val', '8', '--size', '96'])
    return out


@pytest.fixture
def tool(load_tool, measured):
    return load_tool('make_config.py')


def test_config_and_tables(tool, data, tmp_path, capsys):
    output = tmp_path / 'my_shapes.py'
    args = [str(data), '--output', str(output), '--minutes', '2', '--seed', '7', '--backbone', 'snet146']
    tool.main([*args, '--decide', 'lr=0.002', 'flips=[]'])
    out = capsys.readouterr().out
    cfg = Config.fromfile(output)
    assert (cfg.backbone, cfg.lr, cfg.flips, cfg.randomness.seed) == ('snet146', 0.002, [], 7)
    assert '--minutes 2 --seed 7 --backbone snet146 --decide lr=0.002' in output.read_text().splitlines()[1]
    # Every class and every decision is in the tables.
    assert all(name in out for name in (*cfg.metainfo.classes, 'max_iters', 'anchors', 'class_weight'))
    assert f'mim train mmdet {output}' in out and str(tmp_path / 'my_shapes') in out


def test_a_config_is_not_replaced_unasked(tool, data, tmp_path, capsys):
    output = tmp_path / 'mine.py'
    output.write_text('# mine\n')
    with pytest.raises(SystemExit) as error:
        tool.main([str(data), '--output', str(output)])
    assert error.value.code == 2 and '--force' in capsys.readouterr().err and output.read_text() == '# mine\n'
    tool.main([str(data), '--output', str(output), '--force'])
    assert 'max_iters' in output.read_text()


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['nowhere'], 'nowhere: no such file or directory'),
        (['{data}/train'], 'unknown'),
        (['{data}', '--minutes', '0.2'], 'one epoch'),
        (['{data}', '--minutes', '-3'], 'minutes'),
        (['{data}', '--classes', 'hexagon'], 'hexagon'),
        (['{data}', '--decide', 'momentum=0.9'], 'momentum'),
        (['{data}', '--train-annotations', '{data}/none.json'], 'none.json'),
    ],
)
def test_errors_are_one_line(args, message, tool, data, tmp_path, capsys):
    args = [arg.format(data=data) for arg in args]
    with pytest.raises(SystemExit) as error:
        tool.main([*args, '--output', str(tmp_path / 'out.py')])
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.value.code == 2 and last.startswith('error: ') and message in last
    assert not (tmp_path / 'out.py').exists()


@pytest.mark.slow
def test_three_commands(data, repo, tmp_path):
    """As a user runs it: the plan with its measurements, and the training that mim starts."""
    output = tmp_path / 'my_shapes.py'
    run = dict(check=True, cwd=repo, capture_output=True, text=True)
    command = [sys.executable, 'tools/make_config.py', str(data), '--minutes', '5', '--output', str(output)]
    subprocess.run([*command, '--decide', 'max_iters=4', 'val_interval=2'], **run)
    work_dir = tmp_path / 'work'
    mim = [str(Path(sys.executable).with_name('mim')), 'train', 'mmdet', str(output), '--work-dir', str(work_dir)]
    subprocess.run(mim, **run)
    assert (work_dir / 'iter_4.pth').is_file() and list(work_dir.glob('best_coco_bbox_mAP_iter_*.pth'))
