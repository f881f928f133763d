"""The latency tools on a narrow detector."""

import csv
import importlib.metadata
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
    return [
        [cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines() if line.startswith('|')
    ][2:]


def test_markdown(tool):
    """Ratios are medians of the rounds' ratios, which a machine that slows down does not change."""
    times = dict(a=[10.0, 20.0, 60.0], b=[5.0, 10.0, 30.0], c=[1.0, 1.0, 7.0])
    rows = rows_of(tool('benchmark_latency').markdown(times, ['b'], dict(size=dict(a='1 MB', c='2 MB'))))
    assert rows == [
        ['a', '20.0', '12.0-52.0', '2.00x', '1 MB'],
        ['b', '10.0', '6.0-26.0', '1.00x', ''],
        ['c', '1.0', '1.0-5.8', '0.20x', '2 MB'],
    ]


def test_wrong_files(tool, tmp_path):
    file_calls = tool('benchmark_latency').file_calls
    with pytest.raises(ValueError, match='detector.xml: none of the chosen backends runs it'):
        file_calls(['detector.xml'], ['onnxruntime'], 1, (64, 64), 1)
    with pytest.raises(FileNotFoundError, match='no such model file'):
        file_calls([str(tmp_path / 'no.onnx')], ['onnxruntime'], 1, (64, 64), 1)


@pytest.fixture
def error_of(tool, monkeypatch, capsys):
    """A function that runs a tool, which must end with an error in one line, and returns that."""

    def run(name: str, *args: str) -> str:
        monkeypatch.setattr(sys, 'argv', [name, *args])
        with pytest.raises(SystemExit):
            tool(name).main()
        return capsys.readouterr().err.splitlines()[-1]

    return run


@pytest.mark.parametrize('name', ['benchmark_latency', 'benchmark_train_step', 'profile_test_step', 'sweep_latency'])
def test_missing_config(error_of, name):
    assert re.fullmatch(rf'{name}: error: .*nowhere\.py.*', error_of(name, 'nowhere.py'))


def test_misfitting_checkpoint(error_of, config, tmp_path):
    state_dict = load_detector(config).state_dict()
    del state_dict['rpn_head.rpn_cls.bias']
    path = str(tmp_path / 'weights.pth')
    torch.save(state_dict, path)
    for args in (['benchmark_latency', config, '--checkpoint', path], ['profile_test_step', config, path]):
        assert f'{path}: this checkpoint is of another architecture' in error_of(*args)


def test_no_form_in_onnx(error_of, config, tmp_path):
    cfg = Config.fromfile(config)
    cfg.model.test_cfg.rpn.nms.class_agnostic = True
    cfg.dump(config)
    for name in ('benchmark_latency', 'sweep_latency'):
        assert 'error: export: test_cfg.rpn.nms is' in error_of(name, config, '--backends', 'onnxruntime')


def test_package_versions(tool, monkeypatch):
    """Of packages that were installed under another name too, such as onnxruntime-gpu."""
    import mmdet
    import onnxruntime

    def not_found(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata.Distribution, 'from_name', not_found)
    found = tool('benchmark_latency').package_versions(['mmdet', 'onnxruntime'])
    assert found == f'mmdet {mmdet.__version__}, onnxruntime {onnxruntime.__version__}'
    openvino = pytest.importorskip('openvino')
    found = tool('benchmark_latency').package_versions(['openvino'])
    assert re.fullmatch(r'openvino [\d.]+', found) and openvino.__version__.startswith(found.split()[1])


@pytest.mark.parametrize(
    ('name', 'option'),
    [
        ('benchmark_latency', '--threads'),
        ('benchmark_train_step', '--batch'),
        ('complexity', '--size'),
        ('profile_test_step', '--rounds'),
        ('sweep_latency', '--rounds'),
    ],
)
def test_counts(tool, monkeypatch, capsys, name, option):
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', 'tiny.py', option, '0'])
    with pytest.raises(SystemExit):
        tool(name).main()
    assert f'{option}: 0: must be at least ' in capsys.readouterr().err.splitlines()[-1]


def test_variants(tool, config, monkeypatch):
    """Each axis varies what its name says."""
    sweep = tool('sweep_latency')
    monkeypatch.setattr(
        sweep,
        'load_detector',
        lambda *args, **kwargs: detectors.append(load_detector(*args, **kwargs)) or detectors[-1],
    )
    detectors = []

    def found(axis, value: int) -> object:
        with torch.inference_mode():
            (sample,) = sweep.variant_calls(config, axis, value, 64, ['eager'])['eager']()
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
    monkeypatch.setitem(sweep.AXES, 'threads', sweep.THREADS._replace(values=(1,)))
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
    """One row a part, and ratios to the bare modules; the versions need no distribution named mmdet."""
    metadata = importlib.metadata.Distribution
    from_name = metadata.from_name
    monkeypatch.setattr(metadata, 'from_name', lambda name: from_name('another' if name == 'mmdet' else name))
    profile = tool('profile_test_step')
    monkeypatch.setattr(sys, 'argv', ['profile_test_step.py', config, '--rounds', '2', '--warmup', '0'])
    profile.main()
    printed = capsys.readouterr().out
    rows = {row[0]: row[1:] for row in rows_of(printed)}
    assert re.search(r'64x64 px, [1-9]\d* detections', printed) and rows['bare modules'][2] == '1.00x'
    assert {'test_step', 'data preprocessor', 'backbone', 'RoI head'} < set(rows)
    assert 0 < float(rows['backbone'][0]) < float(rows['test_step'][0])
