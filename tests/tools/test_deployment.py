"""The deployment tools in order, on a narrow detector: export, quantise, compare."""


import pytest
import torch
from mmengine.config import Config

from mmthunder.apis import load_detector


@pytest.fixture
def tool(load_tool):
    """A function that runs a tool with arguments and returns its exit code."""

    def run(name: str, *args) -> int:
        return load_tool(f'deployment/{name}.py').main([str(arg) for arg in args])

    return run


@pytest.fixture
def config(tiny_cfg: Config, tmp_path):
    tiny_cfg.dump(tmp_path / 'tiny.py')
    return tmp_path / 'tiny.py'


def test_tools(tool, load_tool, config, tmp_path, capsys):
    model, quantized = tmp_path / 'tiny.onnx', tmp_path / 'tiny_int8.onnx'
    assert tool('export_onnx', config, '--output', model, '--threads', 1, '--count', 2) == 0
    printed = capsys.readouterr()
    assert f'{model}: ' in printed.out and 'agree: 2 images' in printed.out and 'greedy NMS' in printed.out
    assert tool('quantize', config, model, '--output', quantized, '--count', 2) == 0
    assert f'{quantized}: ' in capsys.readouterr().out
    torch.save(load_detector(config).state_dict(), tmp_path / 'tiny.pth')
    assert tool('compare_backends', config, tmp_path / 'tiny.pth', model, quantized, '--backends', 'onnxruntime',
                '--limit', 2) == 0
    rows = [line.split(' | ') for line in capsys.readouterr().out.split('\n') if line.startswith('| ')]
    assert [row[0].split(',')[0] for row in rows[2:]] == ['| PyTorch', '| PyTorch', f'| {model}', f'| {quantized}']
    assert rows[4][4] == '0'
    benchmark_latency = load_tool('analysis_tools/benchmark_latency.py')
    calls = benchmark_latency.file_calls([str(model), str(quantized)], ['onnxruntime'], 1, (64, 64), 1)
    assert list(calls) == [('tiny.onnx', 'onnxruntime'), ('tiny_int8.onnx', 'onnxruntime')]
    for call in calls.values():
        assert [output.shape for output in call()] == [(1, 100, 4), (1, 100), (1, 100)]


def test_errors(tool, config, tmp_path, capsys):
    (tmp_path / 'no_model.onnx').write_text('no model')
    for suffix in ('.onnx', '.xml'):
        assert tool('quantize', config, tmp_path / 'no_model.onnx', '--output', tmp_path / f'a{suffix}') == 1
        assert 'no_model.onnx: not a graph that' in capsys.readouterr().err
    assert tool('compare_backends', config, tmp_path / 'no.pth', tmp_path / 'no.onnx') == 1
    assert 'no.pth' in capsys.readouterr().err
    assert tool('export_onnx', config, tmp_path / 'no.pth', '--output', tmp_path / 'a.onnx') == 1
    assert 'no.pth' in capsys.readouterr().err
    (tmp_path / 'broken.jpg').touch()
    assert tool('export_onnx', config, '--output', tmp_path / 'a.onnx', '--images', tmp_path / 'broken.jpg') == 1
    assert capsys.readouterr().err == f'error: {tmp_path / "broken.jpg"}: not a readable image\n'
    assert not (tmp_path / 'a.onnx').exists()
    for args, message in (
        (['export_onnx', config, '--output', 'a.onnx', '--batch', 'x'], "--batch x must be a number from 1 or 'dyn"),
        (['export_onnx', config, '--output', 'a.onnx', '--batch', '0'], '--batch 0 must be a number from 1'),
        (['quantize', config, 'a.onnx', '--output', 'a.txt'], 'must end with .onnx'),
        (['quantize', config, 'a.onnx', '--output', 'a.xml', '--count', '0'], '--count 0 must be at least 1')):
        with pytest.raises(SystemExit):
            tool(*args)
        assert message in capsys.readouterr().err
