"""The latency tools on a narrow detector."""

import csv
import logging
import re
import sys

import cv2
import pytest
import torch
from mmengine.config import Config

from mmthunder.apis import load_detector


@pytest.fixture(autouse=True)
def restored() -> None:
    """The tools set the number of threads and silence logging."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    logging.disable(logging.NOTSET)


@pytest.fixture
def tool(load_tool):
    """Import one of tools/analysis_tools by its name."""
    return lambda name: load_tool(f'analysis_tools/{name}.py')


@pytest.fixture
def config(tiny_cfg: Config, tmp_path) -> str:
    tiny_cfg.model.test_cfg.rpn.nms_pre = 40
    tiny_cfg.dump(tmp_path / 'tiny.py')
    return str(tmp_path / 'tiny.py')


def rows_of(table: str) -> list:
    """The cells of a table in Markdown, without its head."""
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines()
            if line.startswith('|')][2:]


def test_markdown(tool):
    """Ratios are medians of the rounds' ratios, which a machine that slows down does not change."""
    times = dict(a=[10., 20., 60.], b=[5., 10., 30.], c=[1., 1., 7.])
    rows = rows_of(tool('benchmark_latency').markdown(times, ['b'], dict(size=dict(a='1 MB', c='2 MB'))))
    assert rows == [['a', '20.0', '12.0-52.0', '2.00x', '1 MB'], ['b', '10.0', '6.0-26.0', '1.00x', ''],
                    ['c', '1.0', '1.0-5.8', '0.20x', '2 MB']]


def test_wrong_files(tool, tmp_path):
    file_calls = tool('benchmark_latency').file_calls
    with pytest.raises(ValueError, match='detector.xml: none of the chosen backends runs it'):
        file_calls(['detector.xml'], ['onnxruntime'], 1, (64, 64), 1)
    with pytest.raises(FileNotFoundError, match='no such model file'):
        file_calls([str(tmp_path / 'no.onnx')], ['onnxruntime'], 1, (64, 64), 1)


def test_variants(tool, config, monkeypatch):
    """Each axis varies what its name says."""
    sweep = tool('sweep_latency')
    monkeypatch.setattr(sweep, 'load_detector', lambda *args, **kwargs: detectors.append(
        load_detector(*args, **kwargs)) or detectors[-1])
    detectors = []

    def found(axis, value: int) -> object:
        with torch.inference_mode():
            sample, = sweep.variant_calls(config, axis, value, 64, ['eager'])['eager']()
        return sample

    sample = found(sweep.IMAGE, 96)
    assert sample.img_shape == (96, 96) and not len(sample.pred_instances)
    assert found(sweep.PROPOSALS, 7).img_shape == (64, 64)
    assert detectors[-1].rpn_head.test_cfg.max_per_img == 7
    assert not len(found(sweep.CLASSES, 3).pred_instances)
    crowd = found(sweep.CROWDED, 3).pred_instances
    assert set(crowd.labels.tolist()) == {0, 1, 2}
    found(sweep.THREADS, 1)
    assert torch.get_num_threads() == 1


def test_sweep(tool, config, tmp_path, monkeypatch, capsys):
    """Its table, CSV and plot, with two small axes."""
    sweep = tool('sweep_latency')
    monkeypatch.setitem(sweep.AXES, 'image', sweep.IMAGE._replace(values=(64, 96)))
    monkeypatch.setitem(sweep.AXES, 'threads', sweep.THREADS._replace(values=(1, )))
    output = tmp_path / 'new/growth'
    options = ['--axes', 'image', 'threads', '--backends', 'eager', '--size', '64', '--rounds', '2', '--warmup', '0']
    monkeypatch.setattr(sys, 'argv', ['sweep_latency.py', config, *options, '--output', str(output)])
    sweep.main()
    rows = rows_of(output.with_suffix('.md').read_text())
    assert [row[:2] for row in rows] == [['image side, px', '64'], ['image side, px', '96'], ['threads', '1']]
    assert all(float(row[2]) > 0 for row in rows)
    with open(output.with_suffix('.csv')) as f:
        assert list(csv.reader(f)) == [['varied', 'value', 'eager_ms'], *rows]
    assert cv2.imread(str(output.with_suffix('.png'))).std() > 20
    assert f'{output}.csv' in capsys.readouterr().out


def test_profile(tool, config, shapes, monkeypatch, capsys):
    """One row a part, and ratios to the bare modules."""
    profile = tool('profile_test_step')
    monkeypatch.setattr(sys, 'argv', ['profile_test_step.py', config, '--rounds', '2', '--warmup', '0'])
    profile.main()
    printed = capsys.readouterr().out
    rows = {row[0]: row[1:] for row in rows_of(printed)}
    assert re.search(r'64x64 px, [1-9]\d* detections', printed) and rows['bare modules'][2] == '1.00x'
    assert {'test_step', 'data preprocessor', 'backbone', 'RoI head'} < set(rows)
    assert 0 < float(rows['backbone'][0]) < float(rows['test_step'][0])
