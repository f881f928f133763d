"""The deployment tools in order, on a narrow detector: export, quantise, compare."""

import copy
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from PIL import Image

from mmthunder.apis import Agreement, ImagePipeline, load_detector
from mmthunder.export import InputSpec
from mmthunder.runtime import Detections, Detector
from mmthunder.runtime.preprocessing import LoadImageFromFile
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


@pytest.mark.slow
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

        def detect(_, image: np.ndarray, pipeline: ImagePipeline) -> Detections:
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


def test_categories_in_another_order(tiny_cfg, compare_truth, tmp_path):
    """They are matched by name, as in tests, also in configs with mmdet's metric."""
    content = json.loads(Path(tiny_cfg.test_evaluator.ann_file).read_text())
    content['categories'].reverse()
    (tmp_path / 'val.json').write_text(json.dumps(content))
    tiny_cfg.test_evaluator.update(type='CocoMetric', ann_file=str(tmp_path / 'val.json'))
    _, *rows = compare_truth(tiny_cfg)
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
        (['export_onnx', config, '--output', 'a.onnx', '--count', '0'], '--count: 0: must be at least 1'),
        (['export_onnx', config, '--output', 'a.onnx', '--shape', '64', '0'], '--shape: 0: must be at least 1'),
        (['export_ncnn', config, '--output', 'a', '--count', '-1'], '--count: -1: must be at least 1'),
        (['export_ncnn', config, '--output', 'a', '--shape', '0', '64'], '--shape: 0: must be at least 1'),
        (
            ['export_onnx', config, '--output', 'a', '--category-ids', '1', '--annotations', 'a.json'],
            'not allowed with',
        ),
        (['compare_backends', config, 'a.pth', '--limit', '0'], '--limit: 0: must be at least 1'),
        (['compare_backends', config, 'a.pth', '--threads', '0'], '--threads: 0: must be at least 1'),
        (['quantize', config, 'a.onnx', '--output', 'a.txt'], 'must end with .onnx'),
        (['quantize', config, 'a.onnx', '--output', 'a.xml', '--count', '0'], '--count: 0: must be at least 1'),
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
    monkeypatch.setattr(load_tool('deployment/quantize.py'), 'Detector', lambda path: LoadImageFromFile())
    for args, package in (
        (('quantize', config, tmp_path / 'a.onnx', '--output', tmp_path / 'a.xml'), 'nncf'),
        (('export_ncnn', config, '--output', tmp_path / 'ncnn'), 'pnnx'),
        (('export_onnx', config, '--output', tmp_path / 'b.onnx'), 'onnxruntime'),
    ):
        assert tool(*args) == 1
        error = capsys.readouterr().err
        assert error.startswith('error: ') and package in error and error.count('\n') == 1


def test_training_images(tool, load_tool, tiny_cfg, shapes, tmp_path, capsys):
    """They are read as the file says; without a training set they have to be given."""
    quantize = load_tool('deployment/quantize.py')
    detector = SimpleNamespace(read=LoadImageFromFile('grayscale').read)
    paths = quantize.training_images(tiny_cfg, 3)
    assert [Path(path).name for path in paths] == ['000000.jpg', '000003.jpg', '000007.jpg']
    assert [image.shape for image in quantize.read_images(detector, paths)] == [(96, 96)] * 3
    (tmp_path / 'broken.jpg').touch()
    with pytest.raises(ValueError, match='broken.jpg: not a readable image'):
        quantize.read_images(detector, [*paths, str(tmp_path / 'broken.jpg')])
    tiny_cfg.train_dataloader = None
    with pytest.raises(ValueError, match='has no train_dataloader; .* --images'):
        quantize.training_images(tiny_cfg, 3)


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


@pytest.fixture
def export_options(load_tool):
    return load_tool('deployment/export_options.py')


def test_category_ids(export_options, tiny_cfg, tmp_path, capsys):
    """Given ones, those of a file, and a warning where they are assumed."""
    detector = SimpleNamespace(cfg=tiny_cfg, dataset_meta=dict(classes=('cat', 'dog'), category_ids=[5, 6]))
    export_options.set_category_ids(detector, None, None)
    assert detector.dataset_meta['category_ids'] == [5, 6]
    export_options.set_category_ids(detector, [0, 1], None)
    assert detector.dataset_meta['category_ids'] == [0, 1]
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(dict(categories=[dict(id=8, name='dog'), dict(id=7, name='cat')])))
    export_options.set_category_ids(detector, None, path)
    assert detector.dataset_meta['category_ids'] == [7, 8]
    assert capsys.readouterr().err == ''

    with pytest.raises(ValueError, match='--category-ids: 1 given for 2 classes'):
        export_options.set_category_ids(detector, [3], None)
    detector.dataset_meta = dict(classes=('cat', 'cow'))
    with pytest.raises(ValueError, match='a.json: does not have all of the classes cat, cow'):
        export_options.set_category_ids(detector, None, path)
    export_options.set_category_ids(detector, None, None)
    assert detector.dataset_meta['category_ids'] == [1, 2]
    error = capsys.readouterr().err
    assert error.startswith('warning: category_ids are assumed') and error.count('\n') == 1


def test_shape_is_reported(export_options, tiny_cfg, capsys):
    """Agreement on other images than the test pipeline's says so."""
    agreement = Agreement(images=1, detections=1)
    for shape in (None, (48, 96)):
        args, spec = SimpleNamespace(shape=shape), InputSpec.from_config(tiny_cfg, shape)
        export_options.report('ncnn', agreement, args, spec)
        *notes, last = capsys.readouterr().out.splitlines()
        assert last.startswith('ncnn and PyTorch agree: 1 images')
        assert len(notes) == (shape is not None) and all('not by the test pipeline' in note for note in notes)


def test_other_preprocessing(load_tool, tiny_cfg, capsys):
    """Files that read or resize in another way than the config are named."""
    pipeline = ImagePipeline(tiny_cfg)
    own, other = pipeline.describe(), ImagePipeline(tiny_cfg, (48, 96)).describe()
    exported = {'a.onnx': SimpleNamespace(preprocessing=own), 'b.onnx': SimpleNamespace(preprocessing=other)}
    load_tool('deployment/compare_backends.py').note_preprocessing(exported, pipeline)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith('note: b.onnx preprocesses') and '(96, 48)' in line


@pytest.mark.slow
def test_orientation(tool, table_cells, make_detector, tiny_cfg, shapes, tmp_path, capsys):
    """A config that ignores the EXIF orientation: training, comparison and the exported file see the same pixels."""
    folder = tmp_path / 'turned'
    shutil.copytree(shapes, folder)
    exif = Image.Exif()
    exif[0x0112] = 3  # to be turned by 180 degrees
    for path in (folder / 'val').glob('*.jpg'):
        Image.open(path).save(path, quality=95, exif=exif.tobytes())
    tiny_cfg.test_dataloader.dataset.data_root = f'{folder}/'
    tiny_cfg.test_dataloader.dataset.pipeline[0].color_type = 'color_ignore_orientation'
    config, checkpoint, model = tmp_path / 'turned.json', tmp_path / 'turned.pth', tmp_path / 'turned.onnx'
    tiny_cfg.dump(config)
    torch.save(make_detector().state_dict(), checkpoint)
    assert tool('export_onnx', config, checkpoint, '--output', model, '--threads', 1, '--count', 2) == 0
    capsys.readouterr()
    assert tool('compare_backends', config, checkpoint, model, '--backends', 'onnxruntime') == 0
    header, *rows = table_cells(capsys.readouterr().out)
    row = dict(zip(header, rows[-1]))
    assert row['without partner'] == '0' < row['detections']
    image = Detector(model, 'onnxruntime').read(folder / 'val/000000.jpg')
    assert np.array_equal(image, cv2.imread(str(folder / 'val/000000.jpg'), cv2.IMREAD_IGNORE_ORIENTATION | 1))


@pytest.mark.slow
def test_pure_python_config(tool, load_tool, tiny_cfg, tmp_path, capsys):
    """mmengine's new style, whose types are classes, without a test set, is exported, compared and counted."""
    text = tmp_path / 'text.py'
    tiny_cfg.model.type = 'mmdet.ThunderNet'
    tiny_cfg.test_dataloader.dataset.pipeline[1].type = 'mmdet.Resize'
    tiny_cfg.dump(text)
    dataset = tiny_cfg.test_dataloader.dataset
    pure = tmp_path / 'pure.py'
    model = tiny_cfg.model.to_dict()
    model.pop('type')
    pure.write_text(
        'from mmcv.transforms import LoadImageFromFile\n'
        'from mmdet.datasets import CocoDataset\n'
        'from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, Resize\n'
        'from mmdet.evaluation import CocoMetric\n'
        'from mmthunder.models.detectors import ThunderNet\n'
        "default_scope = 'mmdet'\n"
        'pipeline = [dict(type=LoadImageFromFile), dict(type=Resize, scale=(64, 64), keep_ratio=False),\n'
        '            dict(type=LoadAnnotations, with_bbox=True),\n'
        "            dict(type=PackDetInputs, meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor'))]\n"
        f'dataset = dict(type=CocoDataset, data_root={dataset.data_root!r}, metainfo={dict(dataset.metainfo)!r},\n'
        "               ann_file='annotations/val.json', data_prefix=dict(img='val/'), test_mode=True,\n"
        '               pipeline=pipeline)\n'
        'val_dataloader = dict(batch_size=1, num_workers=0, dataset=dataset)\n'
        f"val_evaluator = dict(type=CocoMetric, ann_file='{dataset.data_root}annotations/val.json', metric='bbox')\n"
        'test_dataloader = test_evaluator = None\n'
        f'model = dict(type=ThunderNet, **{model!r})\n'
    )
    lines = []
    for config in (text, pure):
        checkpoint, exported = tmp_path / 'a.pth', tmp_path / f'{config.stem}.onnx'
        torch.save(load_detector(str(config)).state_dict(), checkpoint)
        assert tool('export_onnx', config, checkpoint, '--output', exported, '--threads', 1, '--count', 1) == 0
        assert tool('compare_backends', config, checkpoint, exported, '--backends', 'onnxruntime', '--limit', 1) == 0
        capsys.readouterr()
        load_tool('analysis_tools/complexity.py').main([str(config)])
        lines.append(capsys.readouterr().out.splitlines()[-1].split('|', 2)[2])
    assert lines[0] == lines[1]
