"""The deployment tools in order, on a narrow detector: export, quantise, compare."""

import copy
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config

from mmthunder.apis import Agreement, load_detector
from mmthunder.runtime import Detections
from mmthunder.runtime.sessions import open_session


@pytest.fixture
def tool(load_tool):
    """A function that runs a tool with arguments and returns its exit code."""

    def run(name: str, *args) -> int:
        return load_tool(f'deployment/{name}.py').main([str(arg) for arg in args])

    return run


@pytest.fixture
def config(tiny_cfg: Config, tmp_path):
    tiny_cfg.dump(tmp_path / 'tiny.json')
    return tmp_path / 'tiny.json'


def test_tools(tool, load_tool, config, table_cells, tmp_path, capsys):
    model, quantized = tmp_path / 'tiny.onnx', tmp_path / 'tiny_int8.onnx'
    assert tool('export_onnx', config, '--output', model, '--threads', 1, '--count', 2) == 0
    printed = capsys.readouterr()
    assert f'{model}: ' in printed.out and 'agree: 2 images' in printed.out and 'greedy NMS' in printed.out
    assert tool('quantize', config, model, '--output', quantized, '--count', 2) == 0
    assert f'{quantized}: ' in capsys.readouterr().out
    torch.save(load_detector(config).state_dict(), tmp_path / 'tiny.pth')
    assert (
        tool(
            'compare_backends',
            config,
            tmp_path / 'tiny.pth',
            model,
            quantized,
            '--backends',
            'onnxruntime',
            '--limit',
            2,
        )
        == 0
    )
    _, *rows = table_cells(capsys.readouterr().out)
    assert [row[0].split(',')[0] for row in rows] == ['PyTorch', 'PyTorch', str(model), str(quantized)]
    assert rows[2][4] == '0'
    benchmark_latency = load_tool('analysis_tools/benchmark_latency.py')
    calls = benchmark_latency.file_calls([str(model), str(quantized)], ['onnxruntime'], 1, (64, 64), 1)
    assert list(calls) == [('tiny.onnx', 'onnxruntime'), ('tiny_int8.onnx', 'onnxruntime')]
    for call in calls.values():
        assert [output.shape for output in call()] == [(1, 100, 4), (1, 100), (1, 100)]


@pytest.fixture
def compare_truth(tool, load_tool, table_cells, tmp_path, monkeypatch, capsys):
    """A function that compares a detector which finds what is annotated with itself; returns the rows of its table."""

    def compare(cfg: Config, *args) -> list:
        dataset = DATASETS.build(copy.deepcopy(cfg.test_dataloader.dataset))
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        annotated = {cv2.imread(info['img_path']).tobytes(): info['instances'] for info in infos}

        def detect(_, image: np.ndarray) -> Detections:
            instances = annotated[image.tobytes()]
            boxes = np.array([instance['bbox'] for instance in instances], np.float32)
            labels = np.array([instance['bbox_label'] for instance in instances])
            return Detections(boxes, np.ones(len(labels), np.float32), labels)

        monkeypatch.setattr(load_tool('deployment/compare_backends.py'), 'detect', detect)
        cfg.dump(tmp_path / 'tiny.json')
        torch.save(load_detector(cfg).state_dict(), tmp_path / 'tiny.pth')
        assert tool('compare_backends', tmp_path / 'tiny.json', tmp_path / 'tiny.pth', *args) == 0
        return [row[1:] for row in table_cells(capsys.readouterr().out)]

    return compare


def test_limit(tiny_cfg, compare_truth):
    """The images that are left out do not lower the AP."""
    header, *rows = compare_truth(tiny_cfg, '--limit', 1)
    assert header[:2] == ['coco/bbox_mAP', 'coco/bbox_mAP_50']
    assert [row[:2] for row in rows] == [['1.000', '1.000']] * 2


def test_voc(tiny_cfg, compare_truth, repo, tmp_path):
    voc = Config.fromfile(repo / 'configs/thundernet/thundernet_snet49_4xb16-62k5_voc0712.py')
    tiny_cfg.model.roi_head.bbox_head.num_classes = 20
    tiny_cfg.test_dataloader, tiny_cfg.test_evaluator = voc.test_dataloader, voc.test_evaluator
    tiny_cfg.test_dataloader.dataset.data_root = str(tmp_path)
    for folder in ('ImageSets/Main', 'Annotations', 'JPEGImages'):
        (tmp_path / 'VOC2007' / folder).mkdir(parents=True)
    (tmp_path / 'VOC2007/ImageSets/Main/test.txt').write_text('000001\n000002\n')
    for name, label in (('000001', 'cat'), ('000002', 'dog')):
        image = np.random.randint(0, 256, (48, 64, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f'VOC2007/JPEGImages/{name}.jpg'), image)
        (tmp_path / f'VOC2007/Annotations/{name}.xml').write_text(
            '<annotation><size><width>64</width><height>48</height><depth>3</depth></size>'
            f'<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>40</xmax>'
            '<ymax>30</ymax></bndbox></object></annotation>'
        )
    header, *rows = compare_truth(tiny_cfg)
    assert header[:2] == ['pascal_voc/mAP', 'pascal_voc/AP50']
    assert [row[:3] for row in rows] == [['1.000', '1.000', '4']] * 2


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
        (['export_onnx', config, '--output', 'a.onnx', '--count', '0'], '--count 0 must be at least 1'),
        (['export_onnx', config, '--output', 'a.onnx', '--shape', '64', '0'], '--shape 64 0 must be at least 1 1'),
        (['export_ncnn', config, '--output', 'a', '--count', '-1'], '--count -1 must be at least 1'),
        (['export_ncnn', config, '--output', 'a', '--shape', '0', '64'], '--shape 0 64 must be at least 1 1'),
        (['compare_backends', config, 'a.pth', '--limit', '0'], '--limit 0 must be at least 1'),
        (['quantize', config, 'a.onnx', '--output', 'a.txt'], 'must end with .onnx'),
        (['quantize', config, 'a.onnx', '--output', 'a.xml', '--count', '0'], '--count 0 must be at least 1'),
    ):
        with pytest.raises(SystemExit):
            tool(*args)
        assert message in capsys.readouterr().err


def test_missing_packages(tool, load_tool, config, tmp_path, monkeypatch, capsys):
    """One line that names the package."""
    for name in ('nncf', 'pnnx', 'onnxruntime'):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / 'a.onnx').touch()

    def export_onnx(*args) -> None:
        open_session(tmp_path / 'a.onnx', 'onnxruntime')

    monkeypatch.setattr(load_tool('deployment/export_onnx.py'), 'export_onnx', export_onnx)
    for args, package in (
        (('quantize', config, tmp_path / 'a.onnx', '--output', tmp_path / 'a.xml'), 'nncf'),
        (('export_ncnn', config, '--output', tmp_path / 'ncnn'), 'pnnx'),
        (('export_onnx', config, '--output', tmp_path / 'b.onnx'), 'onnxruntime'),
    ):
        assert tool(*args) == 1
        error = capsys.readouterr().err
        assert error.startswith('error: ') and package in error and error.count('\n') == 1


def test_unreadable_training_image(tool, config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cv2, 'imread', lambda path: None)
    assert tool('quantize', config, tmp_path / 'a.onnx', '--output', tmp_path / 'b.onnx') == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.endswith('.jpg: not a readable image\n') and error.count('\n') == 1


def test_ncnn(tool, load_tool, config, tmp_path, monkeypatch, capsys):
    """What pnnx cannot convert is one line; a comparison of nothing is told."""
    pnnx = pytest.importorskip('pnnx')
    monkeypatch.setattr(pnnx, 'EXEC_PATH', shutil.which('false'))
    assert tool('export_ncnn', config, '--output', tmp_path / 'ncnn') == 1
    error = capsys.readouterr().err
    assert error.startswith('error: export: pnnx could not write') and error.count('\n') == 1
    monkeypatch.setattr(load_tool('deployment/export_ncnn.py'), 'export_ncnn', lambda *args: Agreement(images=4))
    assert tool('export_ncnn', config, '--output', tmp_path / 'ncnn') == 0
    assert capsys.readouterr().err == 'warning: there was nothing to compare; give --images with objects\n'
