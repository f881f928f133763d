"""Tests of the command that compares detectors."""

import json

import pandas as pd
import pytest

from mmthunder.comparison import ComparisonError, candidates
from mmthunder.comparison.timed import cached_timing, read_timings
from mmthunder.planning import plan_config
from mmthunder.planning.timing import Timing
from mmthunder.tools.compare_detectors import main, parse_args


@pytest.mark.parametrize(
    'words, key',
    [
        (['--minutes', '0'], '--minutes'),
        (['--lr-scale', '-1'], '--lr-scale'),
        (['--batch-size', '0'], '--batch-size'),
        (['--detectors', 'yolo'], '--detectors'),
        (['--timing', 'nothing.json'], 'nothing.json'),
    ],
)
def test_arguments(words, key, capsys):
    with pytest.raises(SystemExit):
        parse_args(['config.py', *words])
    assert key in capsys.readouterr().err


def test_other_config(tmp_path, capsys):
    path = tmp_path / 'other.py'
    path.write_text('model = dict()')
    assert main([str(path), '--work-dir', str(tmp_path / 'out')])
    error = capsys.readouterr().err
    assert str(path) in error and 'input_size' in error


@pytest.mark.parametrize('load', ['other processes use 0.9 of 2 cores', ''])
def test_busy_machine(load, tmp_path, capsys, monkeypatch):
    """Processes that would shorten the trainings are named before anything is timed."""
    monkeypatch.setattr('mmthunder.tools.compare_detectors.describe_other_load', lambda: load)
    assert main([str(tmp_path / 'nowhere.py'), '--work-dir', str(tmp_path)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[:-1] == ([f'warning: {load}'] if load else []) and 'nowhere.py' in lines[-1]


def test_damaged_timings(tmp_path):
    (tmp_path / 'timing.json').write_text('{"thundernet": {"step": 1}}')
    with pytest.raises(ComparisonError, match='timing.json'):
        read_timings(tmp_path / 'timing.json')


def test_timing_is_kept(tmp_path, monkeypatch):
    path, measured = tmp_path / 'timing.json', []

    def time_config(*args) -> Timing:
        measured.append(args)
        return Timing(1.0, len(measured), 3.0)

    monkeypatch.setattr('mmthunder.comparison.timed.time_config', time_config)

    def step(name: str, batch_size: int, depth: int = 1, seed: int = 0) -> int:
        (tmp_path / 'a.py').write_text(f'model = dict(depth={depth})\nrandomness = dict(seed={seed})')
        return cached_timing(path, name, dict(batch_size=batch_size), tmp_path / 'a.py', threads=1).step

    assert step('a', 4) == step('a', 4) == step('a', 4, seed=1) == 1
    assert step('a', 8) == 2
    assert step('b', 8) == 3
    assert step('b', 8, depth=2) == 4, 'planned anew at the same path'
    timings = json.loads(path.read_text())
    assert set(timings) == {'a', 'b'}
    del timings['b']['config']  # as in files of older versions
    path.write_text(json.dumps(timings))
    assert step('b', 8) == step('b', 8, depth=2) == 4


def test_too_short():
    with pytest.raises(ComparisonError, match='yolox_nano.*--minutes'):
        candidates.choose_length('yolox_nano', 1000, 1, Timing(5, 1, 1), 4)


@pytest.mark.slow
def test_comparison(make_shapes, measured, tmp_path, capsys):
    """Detectors that have hardly learned are compared too; what is done is not trained again."""
    make_shapes.main(['--out', str(tmp_path / 'data'), '--train', '24', '--val', '4', '--size', '96'])
    plan_config(tmp_path / 'data', tmp_path / 'planned.py', decisions=dict(backbone='snet49_distilled'))
    words = [str(tmp_path / 'planned.py'), '--max-iters', '2', '--rounds', '2', '--work-dir', str(tmp_path / 'work')]
    words += ['--detectors', 'thundernet', 'yolox_nano', '--lr-scale', '1', '2']
    assert main(words) == 0
    rows = pd.read_csv(tmp_path / 'work/comparison.csv').set_index('detector')
    assert list(rows.index) == ['thundernet', 'yolox_nano', 'yolox_nano_lr2']
    assert rows.AP.between(0, 1).all() and (rows.images_seen == 8).all()
    assert (rows[['openvino_ms', 'onnxruntime_ms', 'mparams', 'mmacs']] > 0).all(axis=None)
    assert rows.lr['yolox_nano_lr2'] == pytest.approx(2 * rows.lr['yolox_nano'])
    assert (tmp_path / 'work/comparison.png').stat().st_size > 1e4
    planned = (tmp_path / 'work/runs/thundernet/seed0/thundernet.py').read_text()
    assert 'Pretrained' not in planned
    assert main(words) == 0
    assert '3 of 3 runs are done already' in capsys.readouterr().out
