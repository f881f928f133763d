"""tools/analysis_tools/benchmark_latency.py on a narrow detector."""

import importlib.metadata
import logging
import re
import sys
import time
from types import ModuleType

import onnx
import pandas as pd
import pytest
import torch
from mmengine.config import Config

from mmthunder.apis import load_detector
from mmthunder.export import TwoStageGraph
from mmthunder.export.to_onnx import to_onnx


@pytest.fixture(autouse=True)
def restored() -> None:
    """The tools set the number of threads and silence logging."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    logging.disable(logging.NOTSET)


@pytest.fixture(scope='module')
def tool(load_tool) -> ModuleType:
    return load_tool('analysis_tools/benchmark_latency.py')


@pytest.fixture
def config(tiny_cfg: Config, tmp_path) -> str:
    tiny_cfg.model.test_cfg.rpn.nms_pre = 40
    tiny_cfg.dump(tmp_path / 'tiny.py')
    return str(tmp_path / 'tiny.py')


def test_summarise(tool):
    """Ratios are medians of the rounds' ratios, which a machine that slows down does not change."""
    times = pd.DataFrame(dict(a=[10.0, 20.0, 60.0], b=[5.0, 10.0, 30.0], c=[1.0, 1.0, 7.0]))
    table = tool.summarise(times, ['b'], dict(size=dict(a='1 MB', c='2 MB')))
    assert table.to_numpy().tolist() == [
        ['a', '20.0', '12.0-52.0', '2.00x', '1 MB'],
        ['b', '10.0', '6.0-26.0', '1.00x', ''],
        ['c', '1.0', '1.0-5.8', '0.20x', '2 MB'],
    ]


def test_clock(tool):
    """A sleep takes time, but no processor time."""
    calls = dict(sleep=lambda: time.sleep(0.05))
    assert tool.time_rounds(calls, 2, 0).sleep.min() >= 50
    assert tool.time_rounds(calls, 2, 0, time.process_time).sleep.max() < 25


def test_wrong_files(tool, tmp_path):
    file_calls = tool.file_calls
    with pytest.raises(ValueError, match='detector.xml: none of the chosen backends runs it'):
        file_calls(['detector.xml'], ['onnxruntime'], 1, (64, 64), 1)
    with pytest.raises(FileNotFoundError, match='no such model file'):
        file_calls([str(tmp_path / 'no.onnx')], ['onnxruntime'], 1, (64, 64), 1)


@pytest.fixture
def error_of(tool, monkeypatch, capsys):
    """A function that runs the tool, which must end with an error in one line, and returns that."""

    def run(*args: str) -> str:
        monkeypatch.setattr(sys, 'argv', ['benchmark_latency', *args])
        with pytest.raises(SystemExit):
            tool.main()
        return capsys.readouterr().err.splitlines()[-1]

    return run


def test_missing_config(error_of):
    assert re.fullmatch(r'benchmark_latency: error: .*nowhere\.py.*', error_of('nowhere.py'))


def test_misfitting_checkpoint(error_of, config, tmp_path):
    state_dict = load_detector(config).state_dict()
    del state_dict['rpn_head.rpn_cls.bias']
    path = str(tmp_path / 'weights.pth')
    torch.save(state_dict, path)
    assert f'{path}: this checkpoint is of another architecture' in error_of(config, '--checkpoint', path)


def test_no_form_in_onnx(error_of, config):
    cfg = Config.fromfile(config)
    cfg.model.test_cfg.rpn.nms.class_agnostic = True
    cfg.dump(config)
    assert 'error: export: test_cfg.rpn.nms is' in error_of(config, '--backends', 'onnxruntime')


def test_counts(error_of):
    assert '--threads: 0: must be at least 1' in error_of('tiny.py', '--threads', '0')


def test_busy_processor(tool, error_of, monkeypatch):
    """With --require-idle the command ends before it loads anything, otherwise it goes on."""
    monkeypatch.setattr(tool, 'describe_other_load', lambda: 'other processes use 0.9 of 2 cores')
    assert error_of('nowhere.py', '--require-idle').endswith('error: other processes use 0.9 of 2 cores')
    assert 'nowhere.py' in error_of('nowhere.py')
    monkeypatch.setattr(tool, 'describe_other_load', str)
    assert 'nowhere.py' in error_of('nowhere.py', '--require-idle')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('options', 'counts', 'settings'),
    [
        (['--max-per-img', '7'], [7, 7], 'score threshold 0.05, at most 7 detections'),
        (['--own-settings'], [200, 300], 'own score thresholds'),
    ],
    ids=['equal', 'own'],
)
def test_settings(tool, config, monkeypatch, capsys, options, counts, settings):
    """A detector of two stages and one of one stage have as many detections, or as many as each of them has."""
    found = []

    def call_once(calls: dict, *_) -> pd.DataFrame:
        found.extend(calls[name, 'onnxruntime']()[1].shape[1] for name in ('tiny', 'yolox_nano'))
        return pd.DataFrame({name: [1.0] for name in calls})

    cfg = Config.fromfile(config)
    cfg.model.test_cfg.rcnn.max_per_img = 200
    cfg.dump(config)
    monkeypatch.setattr(tool, 'time_rounds', call_once)
    arguments = [config, '--backends', 'onnxruntime', '--baselines', 'yolox_nano', *options]
    monkeypatch.setattr(sys, 'argv', ['benchmark_latency', *arguments])
    tool.main()
    assert found == counts and settings in capsys.readouterr().out


def test_package_versions(tool, monkeypatch):
    """Of packages that were installed under another name too, such as onnxruntime-gpu."""
    import mmdet
    import onnxruntime

    def not_found(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata.Distribution, 'from_name', not_found)
    found = tool.package_versions(['mmdet', 'onnxruntime'])
    assert found == f'mmdet {mmdet.__version__}, onnxruntime {onnxruntime.__version__}'
    openvino = pytest.importorskip('openvino')
    found = tool.package_versions(['openvino'])
    assert re.fullmatch(r'openvino [\d.]+', found) and openvino.__version__.startswith(found.split()[1])


@pytest.mark.slow
def test_command(tool, config, table_cells, tmp_path, monkeypatch, capsys):
    """A table per backend, in the order of the command line: configs, baselines, files; and the same numbers as CSV."""
    path = str(tmp_path / 'tiny.onnx')
    onnx.save(to_onnx(TwoStageGraph(load_detector(config)), torch.zeros(1, 64, 64, 3, dtype=torch.uint8)), path)
    arguments = [config, '--backends', 'eager', 'onnxruntime', '--baselines', '--files', path]
    arguments += ['--references', 'tiny', '--rounds', '2', '--warmup', '0', '--csv', str(tmp_path / 'out.csv')]
    monkeypatch.setattr(sys, 'argv', ['benchmark_latency', *arguments])
    tool.main()
    rows = table_cells(capsys.readouterr().out)
    head = ['model', 'median ms', 'p10-p90 ms', 'ratio to tiny', 'MMACs', 'share of the peak']
    assert [row[0] for row in rows] == ['model', 'tiny', 'model', 'tiny', 'tiny.onnx']
    assert rows[0] == rows[2] == head and rows[1][3] == rows[3][3] == '1.00x' and rows[4][4:] == ['', '']
    table = pd.read_csv(tmp_path / 'out.csv')
    assert [*table.columns] == ['model', 'backend', 'median_ms', 'p10_ms', 'p90_ms'] and (table.median_ms > 0).all()
    assert {*zip(table.model, table.backend)} == {
        ('tiny', 'eager'),
        ('tiny', 'onnxruntime'),
        ('tiny.onnx', 'onnxruntime'),
    }
