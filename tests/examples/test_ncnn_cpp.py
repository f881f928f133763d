"""The C++ program finds what the Python runtime finds."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable, List

import cv2
import numpy as np
import pytest

from mmthunder.apis import Agreement
from mmthunder.export import InputSpec
from mmthunder.runtime import Detections, Detector

pytestmark = pytest.mark.slow


Program = List[str]  # the command


def build(repo: Path, build: Path, *options: str) -> Path:
    """Build the program with the ncnn, OpenCV and nlohmann/json that CMake finds."""
    configure = ['cmake', repo / 'examples/ncnn_cpp', *options]
    configured = subprocess.run(configure, cwd=build, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for package in ('ncnn', 'OpenCV', 'nlohmann_json'):
        if configured.returncode and f'"{package}"' in configured.stdout:
            pytest.skip(f'CMake finds no {package}; examples/ncnn_cpp/README.md says how to get it')
    assert configured.returncode == 0, configured.stdout
    subprocess.run(['cmake', '--build', build], check=True, stdout=subprocess.DEVNULL)
    return build / 'thundernet'


def need(*commands: str) -> None:
    for command in commands:
        if shutil.which(command) is None:
            pytest.skip(f'needs {command}')


@pytest.fixture(scope='session')
def program(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The program for this machine."""
    need('cmake', 'c++')
    return [str(build(repo, tmp_path_factory.mktemp('build')))]


@pytest.fixture(scope='session')
def emulated(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The program for aarch64, emulated."""
    need('cmake', 'aarch64-linux-gnu-g++', 'qemu-aarch64')
    sysroot = os.environ.get('AARCH64_SYSROOT')
    if sysroot is None:
        pytest.skip('needs AARCH64_SYSROOT; examples/ncnn_cpp/README.md says how to make it')
    toolchain = f'-DCMAKE_TOOLCHAIN_FILE={repo / "examples/ncnn_cpp/aarch64.cmake"}'
    return ['qemu-aarch64', '-L', sysroot, str(build(repo, tmp_path_factory.mktemp('build'), toolchain))]


def run(program: Program, *args) -> subprocess.CompletedProcess:
    return subprocess.run([*program, *args], capture_output=True, text=True)


@pytest.fixture
def compare(make_detector: Callable, compare_results: dict, tmp_path: Path) -> Callable:
    """A function that exports a detector and compares the two runtimes on images."""
    pytest.importorskip('ncnn')
    pytest.importorskip('pnnx')
    from mmthunder.export.ncnn_files import export_ncnn

    def compare(
        program: Program, images: List[np.ndarray], change: Callable = lambda pipeline: None, **options
    ) -> Agreement:
        detector = make_detector(**options)
        change(detector.cfg.test_dataloader.dataset.pipeline)
        spec = InputSpec.from_config(detector.cfg)
        export_ncnn(detector, tmp_path / 'detector', spec, [])
        runtime = Detector(tmp_path / 'detector/detector.json', threads=1)
        paths = [tmp_path / f'{i}.jpg' for i in range(len(images))]
        for path, image in zip(paths, images):
            cv2.imwrite(str(path), image)
        # What is missing of a truncated file is gray.
        paths[-1].write_bytes(paths[-1].read_bytes()[:-1000])
        result = run(program, tmp_path / 'detector/detector.json', tmp_path / 'out', *paths)
        assert result.returncode == 0 and f'{len(images)} images' in result.stdout, result.stderr
        found = compare_results['read_results'](tmp_path / 'out/detections.json')
        agreement = Agreement()
        for i, path in enumerate(paths):
            boxes, scores, labels = runtime(runtime.read(path))
            ids = np.array(runtime.category_ids)[labels]
            agreement.add(Detections(boxes, scores, ids), found[path.name])
            assert (
                cv2.imread(str(tmp_path / f'out/pictures/{i}_{path.name}')).shape[:2] == cv2.imread(str(path)).shape[:2]
            )
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
def test_detections(compare, program, images, change, options):
    agreement = compare(program, images, change, **options)
    assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)


def test_aarch64(compare, emulated, images):
    agreement = compare(emulated, images, keep_ratio, **RELEASE)
    assert agreement.detections > 10 and agreement.unmatched == 0, str(agreement)


def test_unreadable_files(program, make_detector, compare_results, tmp_path):
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
    assert set(compare_results['read_results'](tmp_path / 'out/detections.json')) == {'a.jpg'}

    # No picture replaces another, or an image.
    for paths in ([image, image], [tmp_path / 'out/pictures/0_a.jpg']):
        before = [path.read_bytes() for path in paths]
        assert run(program, model, tmp_path / 'out', *paths).returncode == 0
        assert [path.read_bytes() for path in paths] == before
    pictures = {path.name for path in (tmp_path / 'out/pictures').iterdir()}
    assert pictures == {'0_a.jpg', '1_a.jpg', '0_0_a.jpg'}

    # What cannot be written is named.
    (tmp_path / 'file').write_bytes(b'')
    result = run(program, model, tmp_path / 'file', image)
    assert result.returncode == 2 and str(tmp_path / 'file') in result.stderr

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
