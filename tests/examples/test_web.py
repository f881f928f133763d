"""The page in the browser finds what the Python runtime finds."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable, List

import cv2
import numpy as np
import onnx
import pytest

from mmthunder.apis import Agreement
from mmthunder.export import InputSpec
from mmthunder.runtime import Detections, Detector

pytestmark = pytest.mark.slow

CHROMIUM = os.environ.get('CHROMIUM', '/usr/bin/chromium')


@pytest.fixture(scope='session')
def dist(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled page."""
    if shutil.which('node') is None or not Path(CHROMIUM).is_file():
        pytest.skip('needs node and Chromium; the environment variable CHROMIUM says where it is')
    if not (repo / 'examples/web/node_modules').is_dir():
        pytest.skip('needs the packages of examples/web; `make test-web` installs them')
    out = tmp_path_factory.mktemp('web') / 'dist'
    subprocess.run(['node', repo / 'examples/web/build.js', '--out', out], check=True, stdout=subprocess.DEVNULL)
    return out


@pytest.fixture
def drive(repo: Path, dist: Path) -> Callable:
    """A function that takes the steps of examples/web/test/drive.js on the page and returns what they give."""

    def drive(*steps: list, options: tuple = ()) -> list:
        result = subprocess.run(
            ['node', repo / 'examples/web/test/drive.js', dist, *options],
            input=json.dumps(steps, default=str),
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert result.returncode == 0, result.stderr
        output = json.loads(result.stdout)
        assert output['errors'] == []
        return output['results']

    return drive


@pytest.fixture
def export(make_detector: Callable, tmp_path: Path) -> Callable:
    """A function that exports a detector that finds things."""

    def export(change: Callable = lambda pipeline: None, name: str = 'model', **options) -> Path:
        from mmthunder.export.onnx_file import export_onnx

        batch = options.pop('batch', 1)
        detector = make_detector(**options)
        change(detector.cfg.test_dataloader.dataset.pipeline)
        spec = InputSpec.from_config(detector.cfg, batch=batch)
        export_onnx(detector, tmp_path / f'{name}.onnx', spec, [])
        return tmp_path / f'{name}.onnx'

    return export


def write_images(directory: Path, count: int = 3) -> List[Path]:
    """Noise, as PNG files, whose pixels every decoder agrees on."""
    rng = np.random.default_rng(0)
    paths = [directory / f'{i}.png' for i in range(count)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), rng.integers(0, 256, ((80, 128, 70)[i % 3], (96, 128, 50)[i % 3], 3), dtype=np.uint8))
    return paths


def compare(results: List[dict], model: Path, paths: List[Path]) -> Agreement:
    detector = Detector(model, 'onnxruntime', threads=1)
    agreement = Agreement()
    for path in paths:
        found = [result for result in results if result['file_name'] == path.name]
        boxes = np.array([result['bbox'] for result in found]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = np.array([detector.category_ids.index(result['category_id']) for result in found], int)
        scores = np.array([result['score'] for result in found])
        agreement.add(detector(detector.read(path)), Detections(boxes, scores, labels))
    return agreement


def keep_ratio(pipeline: list) -> None:
    pipeline[1].update(scale=(96, 64), keep_ratio=True)
    pipeline.insert(2, dict(type='Pad', size_divisor=32, pad_val=dict(img=(114, 30, 7))))


def letterbox(pipeline: list) -> None:
    pipeline[0].to_float32 = True
    pipeline[1] = dict(type='FixShapeResize', width=80, height=112, keep_ratio=True, pad_val=dict(img=(1, 2, 3)))


@pytest.mark.parametrize(
    ('change', 'options'),
    [
        (lambda pipeline: None, dict(batch=2)),
        (
            keep_ratio,
            dict(
                roi_head__bbox_head__reg_class_agnostic=False,
                roi_head__bbox_roi_extractor__roi_layer=dict(
                    type='PSRoIAlign', output_size=7, pool_mode='max', aligned=False, min_size=0.1
                ),
            ),
        ),
        (letterbox, {}),
    ],
    ids=['average', 'max', 'letterbox'],
)
def test_detections(drive, export, tmp_path, change, options):
    model, paths = export(change, **options), write_images(tmp_path)
    *_, message, results = drive(['model', model], ['images', paths], ['text', '#message'], ['save'])
    assert message == '3 images done.'
    agreement = compare(results, model, paths)
    assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)


def test_photographs(drive, export, shared, tmp_path):
    """JPEG files in Chromium's decoder; and the page works offline, with files that are dropped on it."""
    model, paths = export(), sorted((shared / 'data/BCCD/JPEGImages').glob('*.jpg'))[:10]
    first = ['model', model], ['images', paths], ['save']
    offline = ['offline'], ['drop', [model, *paths]], ['text', '#message'], ['save']
    _, _, results, _, _, message, again = drive(*first, *offline)
    assert message == '10 images done.' and again == results
    agreement = compare(results, model, paths)
    assert agreement.images == 10 and agreement.detections > 10 and agreement.unmatched == 0, str(agreement)


def test_controls(drive, export, tmp_path):
    """The slider and the list of classes select what is drawn and listed."""
    model, (path, *_) = export(), write_images(tmp_path)
    rows = ['count', '#detections tr']
    classes = [['uncheck', f'#classes input[value="{label}"]'] for label in range(6)]
    steps = ['model', model], ['images', [path]], ['score', 0.05], rows, ['save'], ['score', 0.3], rows
    _, _, _, low, results, _, high, *_, none = drive(*steps, *classes, rows)
    assert low == len(results) > high == sum(result['score'] >= 0.3 for result in results) > 0
    assert none == 0


def test_errors(drive, export, tmp_path):
    """A wrong file or image is named, and what was there stays."""
    (good, *_), model = write_images(tmp_path), export()
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    (tmp_path / 'text.onnx').write_text('no model')
    graph = onnx.load(model)
    (props,) = (entry for entry in graph.metadata_props if entry.key == 'pipeline')
    props.value = props.value.replace('"bilinear"', '"lanczos"')
    onnx.save(graph, tmp_path / 'other.onnx')
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / 'foreign.onnx')
    text = ['text', '#message']
    steps = [['images', [good]], text, ['click', '#camera'], text]
    for name in ('text', 'foreign', 'other'):
        steps += [['model', tmp_path / f'{name}.onnx'], text]
    steps += [['model', model], ['images', [tmp_path / 'broken.jpg']], text, ['click', '#camera']]
    steps += [['wait', '#message.error:has-text("camera")'], text, ['save']]
    found = drive(*steps)
    messages = [result for step, result in zip(steps, found) if step[0] == 'text']
    assert 'ONNX' in messages[0] and 'ONNX' in messages[1]
    for message, parts in zip(
        messages[2:], (['text.onnx'], ['foreign.onnx', 'format'], ['other.onnx', 'interpolation', 'lanczos'])
    ):
        assert all(part in message for part in parts), message
    assert 'broken.jpg' in messages[5] and messages[6].startswith('No camera')
    assert {result['file_name'] for result in found[-1]} == {good.name}


def test_camera(drive, export):
    """Chromium's camera of moving pictures."""
    options = ('--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream')
    wait = ['wait', '#times tr']
    first, last = ['text', '#camera'], ['text', '#camera']
    steps = ['model', export()], ['click', '#camera'], wait, first, ['pixels'], ['click', '#camera'], last
    _, _, _, running, pixels, _, stopped = drive(*steps, options=options)
    assert running == 'Stop camera' and stopped == 'Camera' and len(set(pixels)) > 1
