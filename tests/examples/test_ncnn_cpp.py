"""The C++ program finds what the Python runtime finds."""

import json
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Callable, Dict, List

import cv2
import numpy as np
import pytest

from mmthunder.apis import Agreement
from mmthunder.export import InputSpec
from mmthunder.runtime import Detections, Detector

pytestmark = pytest.mark.slow


@pytest.fixture(scope='session')
def program(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built with the ncnn, OpenCV and nlohmann/json that CMake finds."""
    for command in ('cmake', 'c++'):
        if shutil.which(command) is None:
            pytest.skip(f'needs {command}')
    build = tmp_path_factory.mktemp('build')
    configured = subprocess.run(
        ['cmake', repo / 'examples/ncnn_cpp'], cwd=build, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for package in ('ncnn', 'OpenCV', 'nlohmann_json'):
        if configured.returncode and f'"{package}"' in configured.stdout:
            pytest.skip(f'CMake finds no {package}; examples/ncnn_cpp/README.md says how to get it')
    assert configured.returncode == 0, configured.stdout
    subprocess.run(['cmake', '--build', build], check=True, stdout=subprocess.DEVNULL)
    return build / 'thundernet'


def run(program: Path, *args) -> subprocess.CompletedProcess:
    return subprocess.run([program, *args], capture_output=True, text=True)


def read_results(path: Path, detector: Detector) -> Dict[str, Detections]:
    """Detections of each file."""
    results: Dict[str, List[dict]] = defaultdict(list)
    for result in json.loads(path.read_text()):
        results[result['file_name']].append(result)
    detections = {}
    for name, found in results.items():
        x, y, width, height = np.array([result['bbox'] for result in found]).T
        detections[name] = Detections(
            np.stack((x, y, x + width, y + height), 1),
            np.array([result['score'] for result in found]),
            np.array([detector.category_ids.index(result['category_id']) for result in found]),
        )
    return detections


@pytest.fixture
def compare(program: Path, make_detector: Callable, tmp_path: Path) -> Callable:
    """A function that exports a detector and compares the two runtimes on images."""
    pytest.importorskip('ncnn')
    pytest.importorskip('pnnx')
    from mmthunder.export.ncnn_files import export_ncnn

    def compare(images: List[np.ndarray], change: Callable = lambda pipeline: None, **options) -> Agreement:
        detector = make_detector(**options)
        change(detector.cfg.test_dataloader.dataset.pipeline)
        spec = InputSpec.from_config(detector.cfg)
        export_ncnn(detector, tmp_path / 'detector', spec, [])
        runtime = Detector(tmp_path / 'detector/detector.json', threads=1)
        paths = [tmp_path / f'{i}.jpg' for i in range(len(images))]
        for path, image in zip(paths, images):
            cv2.imwrite(str(path), image)
        result = run(program, tmp_path / 'detector/detector.json', tmp_path / 'out', *paths)
        assert result.returncode == 0 and f'{len(images)} images' in result.stdout, result.stderr
        found = read_results(tmp_path / 'out/detections.json', runtime)
        agreement = Agreement()
        for path in paths:
            agreement.add(runtime(runtime.read(path)), found[path.name])
            assert cv2.imread(str(tmp_path / 'out/pictures' / path.name)).shape[:2] == cv2.imread(str(path)).shape[:2]
        return agreement

    return compare


RELEASE = dict(
    roi_head__bbox_head__num_shared_fcs=2,
    roi_head__bbox_head__reg_class_agnostic=False,
    roi_head__bbox_roi_extractor__roi_layer=dict(
        type='PSRoIAlign', output_size=7, pool_mode='max', aligned=False, min_size=0.1
    ),
)


def keep_ratio(pipeline: list) -> None:
    pipeline[1].update(scale=(96, 64), keep_ratio=True)
    pipeline.insert(2, dict(type='Pad', size=(96, 96), pad_val=dict(img=(114, 30, 7))))


def letterbox(pipeline: list) -> None:
    pipeline[0].to_float32 = True
    pipeline[1] = dict(type='FixShapeResize', width=80, height=112, keep_ratio=True, pad_val=dict(img=(1, 2, 3)))


def grayscale(pipeline: list) -> None:
    pipeline[0].color_type = 'grayscale'
    pipeline[1].update(scale=(33, 47), interpolation='area')


@pytest.mark.parametrize(
    ('change', 'options'),
    [
        (lambda pipeline: None, {}),
        (keep_ratio, RELEASE),
        (letterbox, {}),
        (
            grayscale,
            dict(
                backbone__in_channels=1,
                data_preprocessor=dict(mean=None, std=None, bgr_to_rgb=False),
                test_cfg__rcnn__max_per_img=-1,
                test_cfg__rpn=dict(max_per_img=200, nms=dict(type='nms', iou_threshold=0.7)),
            ),
        ),
    ],
    ids=['average', 'max', 'letterbox', 'grayscale'],
)
def test_detections(compare, images, change, options):
    agreement = compare(images, change, **options)
    assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)


def test_unreadable_files(program, make_detector, tmp_path):
    pytest.importorskip('ncnn')
    pytest.importorskip('pnnx')
    from mmthunder.export.ncnn_files import export_ncnn

    detector = make_detector()
    export_ncnn(detector, tmp_path / 'detector', InputSpec.from_config(detector.cfg), [])
    model, image = tmp_path / 'detector/detector.json', tmp_path / 'a.jpg'
    cv2.imwrite(str(image), np.random.randint(0, 256, (48, 64, 3), np.uint8))

    # Images that cannot be read are left out, and what the others show is kept.
    (tmp_path / 'broken.jpg').write_bytes(b'')
    result = run(program, model, tmp_path / 'out', tmp_path / 'broken.jpg', image)
    assert result.returncode == 1 and 'broken.jpg' in result.stderr
    assert set(read_results(tmp_path / 'out/detections.json', Detector(model, threads=1))) == {'a.jpg'}

    # No picture replaces an image.
    (tmp_path / 'out/pictures/b.jpg').write_bytes(image.read_bytes())
    for images in ([image, image], [tmp_path / 'out/pictures/b.jpg']):
        assert 'would replace' in run(program, model, tmp_path / 'out', *images).stderr

    for change, named in (
        (lambda settings: settings['metadata'].update(format='other'), 'format'),
        (lambda settings: settings['metadata'].pop('classes'), 'classes'),
        (lambda settings: settings['rpn'].update(stride='16'), '/rpn/stride'),
        (lambda settings: settings['rpn']['base_anchors'].pop(), 'base_anchors'),
        (lambda settings: settings.update(input_shape=[1, 64, 65, 3]), 'pipeline'),
        (lambda settings: settings['metadata']['pipeline'][1].update(interpolation='cubic'), 'interpolation'),
    ):
        settings = json.loads(model.read_text())
        change(settings)
        (tmp_path / 'detector/wrong.json').write_text(json.dumps(settings))
        result = run(program, tmp_path / 'detector/wrong.json', tmp_path / 'out', image)
        assert result.returncode == 2 and 'wrong.json' in result.stderr and named in result.stderr
    (tmp_path / 'detector/head.bin').unlink()
    result = run(program, model, tmp_path / 'out', image)
    assert result.returncode == 2 and 'head.bin' in result.stderr.replace('.param or ', '')
    assert run(program, tmp_path / 'nowhere.json', tmp_path / 'out', image).returncode == 2
