"""The pass over the images of a dataset."""

import io
import json
import os
import struct
from pathlib import Path
from typing import Any, List, Optional

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmengine.dataset import BaseDataset
from PIL import Image
from torch.multiprocessing import start_processes

from mmthunder.datasets.image_files import CUT_OFF, ImageReport, check_images

IMAGE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8), (9, 9), 0)


def encode(suffix: str, image: Any = IMAGE) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def pillow(mode: str, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(IMAGE).convert(mode).save(file, kind)
    return file.getvalue()


def turned(jpeg: bytes) -> bytes:
    """Let a JPEG file ask to be shown turned by 90 degrees."""
    exif = b'Exif\0\0MM\0*' + struct.pack('>IHHHIHHI', 8, 1, 0x112, 3, 1, 6, 0, 0)
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + jpeg[2:]


JPEG = encode('.jpg')
KINDS = dict(
    whole=(JPEG, ''),
    cut=(JPEG[:-20], CUT_OFF),
    end=(JPEG[:-1], CUT_OFF),
    header=(JPEG[:200], 'not a readable image'),
    empty=(b'', 'an empty file'),
    text=(b'text', 'not a readable image'),
    page=(b'\n<!DOCTYPE html>\n<html><body>404</body></html>', 'a web page'),
    zeros=(b'\0' * 5000, 'not a readable image'),
    png=(encode('.png'), ''),  # under a JPEG's name
    cut_png=(encode('.png')[:-200], 'not a readable image'),
    cmyk=(pillow('CMYK', 'JPEG'), ''),
    palette=(pillow('P', 'PNG'), ''),
    one_bit=(pillow('1', 'PNG'), ''),
    transparent=(pillow('RGBA', 'PNG'), ''),
    deep=(encode('.png', IMAGE.astype(np.uint16) * 257), ''),
    gray=(encode('.jpg', IMAGE[..., 0]), ''),
    tiff=(encode('.tiff'), ''),
    missing=(None, 'No such file or directory'),
    directory=(..., 'Is a directory'),
)


def write(path: Path, content: Any) -> None:
    if content is ...:
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)


def build(root: Path, names: List[str], loader: Optional[dict] = None, **options) -> CocoDataset:
    """Build a dataset of images that are annotated with 64x48 px."""
    content = dict(
        images=[dict(id=i, file_name=name, width=64, height=48) for i, name in enumerate(names)],
        categories=[dict(id=1, name='cat')],
        annotations=[
            dict(id=i, image_id=i, category_id=1, bbox=[5, 6, 50, 30], area=1500, iscrowd=0) for i in range(len(names))
        ],
    )
    (root / 'train.json').write_text(json.dumps(content))
    return CocoDataset(
        ann_file=str(root / 'train.json'),
        data_prefix=dict(img=str(root)),
        metainfo=dict(classes=('cat',)),
        pipeline=[loader or dict(type='LoadImageFromFile')],
        **options,
    )


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_kinds(tmp_path, backend):
    for name, (content, _) in KINDS.items():
        write(tmp_path / f'{name}.jpg', content)
    dataset = build(
        tmp_path, [f'{name}.jpg' for name in KINDS], dict(type='LoadImageFromFile', imdecode_backend=backend)
    )
    report = check_images(dataset)
    assert {Path(path).stem for path in report.cut_off} == {
        name for name, (_, kind) in KINDS.items() if kind == CUT_OFF
    }
    expected = {name: problem for name, (_, problem) in KINDS.items() if problem not in ('', CUT_OFF)}
    assert {Path(path).stem: problem for path, problem in report.unreadable.items()} == expected
    assert report.positions == [i for i, name in enumerate(KINDS) if name in expected]
    assert not report.mismatches and not report.other_sizes and not report.skipped
    assert report.num_images == report.num_decoded == len(KINDS)


@pytest.mark.parametrize('name', ['a\0b.jpg', 'x' * 300 + '.jpg', 'dir\\a.jpg', '\ud800.jpg'])
def test_names(tmp_path, name):
    """Those of no file; Windows' separator."""
    (tmp_path / 'dir').mkdir()
    (tmp_path / 'dir/a.jpg').write_bytes(JPEG)
    report = check_images(build(tmp_path, ['dir/a.jpg', name]))
    ((path, problem),) = report.unreadable.items()
    assert path == str(tmp_path / name) and ('write / in the annotations' in problem) == ('\\' in name)


class TestSizes:
    @pytest.mark.parametrize('color_type', ['color', 'unchanged', 'color_ignore_orientation'])
    def test_turned_by_exif(self, tmp_path, color_type):
        """The size is that with which the pipeline loads the image."""
        (tmp_path / 'a.jpg').write_bytes(turned(JPEG))
        report = check_images(build(tmp_path, ['a.jpg'], dict(type='LoadImageFromFile', color_type=color_type)))
        if color_type == 'color':
            assert report.mismatches == [
                f'{tmp_path}/a.jpg: has 48x64 px, but its annotations say 64x48 (width x height) and have boxes '
                'outside of it'
            ]
        else:
            assert report.mismatches == []

    def test_boxes_that_fit(self, tmp_path):
        (tmp_path / 'a.jpg').write_bytes(encode('.jpg', cv2.resize(IMAGE, (640, 480))))
        report = check_images(build(tmp_path, ['a.jpg']))
        assert report.mismatches == [] and '640x480 px, but its annotations say 64x48' in report.other_sizes[0]


class TestMemory:
    @pytest.fixture
    def dataset(self, tmp_path) -> CocoDataset:
        for i in range(4):
            (tmp_path / f'{i}.jpg').write_bytes(JPEG)
        (tmp_path / '1.jpg').write_bytes(JPEG[:-20])
        (tmp_path / '2.jpg').write_bytes(b'')
        return build(tmp_path, [f'{i}.jpg' for i in range(5)])

    def check(self, dataset: CocoDataset, num_decoded: int) -> ImageReport:
        report = check_images(dataset)
        assert report.num_decoded == num_decoded
        return report

    def test_is_decoded_once(self, dataset, tmp_path, capsys):
        """A file that is missing is looked for again."""
        first = self.check(dataset, 5)
        assert '5/5' in capsys.readouterr().err  # the progress bar
        second = self.check(dataset, 1)
        assert (first.cut_off, first.unreadable, first.positions) == (
            second.cut_off,
            second.unreadable,
            second.positions,
        )
        (tmp_path / '4.jpg').write_bytes(JPEG)
        assert list(self.check(dataset, 1).unreadable) == [str(tmp_path / '2.jpg')]
        self.check(dataset, 0)
        assert capsys.readouterr().err.count('1/1') == 2

    def test_changed_files(self, dataset, tmp_path):
        self.check(dataset, 5)
        (tmp_path / '4.jpg').write_bytes(JPEG)
        (tmp_path / '2.jpg').write_bytes(JPEG)  # another size
        status = (tmp_path / '0.jpg').stat()
        (tmp_path / '0.jpg').write_bytes(b'\0' * len(JPEG))  # another time
        os.utime(tmp_path / '0.jpg', ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        assert list(self.check(dataset, 3).unreadable) == [str(tmp_path / '0.jpg')]

    def test_parts_of_a_data_set(self, dataset, tmp_path):
        """Share the memory."""
        self.check(build(tmp_path, ['0.jpg', '1.jpg', '3.jpg'], indices=2), 2)
        self.check(build(tmp_path, ['0.jpg', '1.jpg', '3.jpg'], indices=-2), 1)
        self.check(build(tmp_path, ['0.jpg', '1.jpg', '3.jpg']), 0)

    def test_other_loaders(self, dataset, tmp_path):
        """Do not."""
        self.check(dataset, 5)
        self.check(build(tmp_path, ['0.jpg'], dict(type='LoadImageFromFile', color_type='grayscale')), 1)
        self.check(build(tmp_path, ['0.jpg'], dict(type='LoadImageFromFile', imdecode_backend='pillow')), 1)

    @pytest.mark.parametrize('content', ['', '{', '[]', '{"a": 3}', '{"a": []}', '{"a": [1, 2, 3]}', 'null'])
    def test_damaged_memory(self, dataset, cache, content):
        self.check(dataset, 5)
        (file,) = (cache / 'images').iterdir()
        file.write_text(content)
        self.check(dataset, 5)
        self.check(dataset, 1)

    def test_memory_that_cannot_be_written(self, dataset, cache, monkeypatch):
        """A file in place of the directory, or a full disk."""
        (cache / 'images').write_text('')
        self.check(dataset, 5)
        self.check(dataset, 5)
        (cache / 'images').unlink()

        def fail(*args) -> None:
            raise OSError(28, 'No space left on device')

        monkeypatch.setattr('os.replace', fail)
        self.check(dataset, 5)
        assert list((cache / 'images').iterdir()) == []

    def test_is_in_the_cache_of_the_user(self, dataset, tmp_path, monkeypatch):
        monkeypatch.delenv('MMTHUNDER_CACHE')
        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
        self.check(dataset, 5)
        assert len(list((tmp_path / 'cache/mmthunder/images').iterdir())) == 1
        monkeypatch.delenv('XDG_CACHE_HOME')
        monkeypatch.setenv('HOME', str(tmp_path / 'home'))
        self.check(dataset, 5)
        assert len(list((tmp_path / 'home/.cache/mmthunder/images').iterdir())) == 1


@pytest.mark.parametrize(
    ('pipeline', 'message'),
    [
        ([], 'does not begin with LoadImageFromFile'),
        ([dict(type='LoadImageFromNDArray'), dict(type='LoadAnnotations')], 'does not begin with'),
        ([dict(type='LoadImageFromFile', backend_args=dict(backend='http'))], 'does not begin with'),
    ],
)
def test_other_pipelines(tmp_path, pipeline, message):
    dataset = build(tmp_path, ['a.jpg'])
    dataset.pipeline = type(dataset.pipeline)(pipeline)
    report = check_images(dataset)
    assert message in report.skipped and not report.positions


def test_other_storages(tmp_path):
    dataset = build(tmp_path, ['a.jpg'])
    dataset.data_prefix = dict(img='s3://bucket/')
    dataset._fully_initialized = False
    dataset.full_init()
    assert check_images(dataset).skipped == 'they are not on the local disk'


def test_large_data_sets(tmp_path):
    dataset = build(tmp_path, ['a.jpg', 'b.jpg'])
    assert 'more than 1' in check_images(dataset, 1).skipped and not check_images(dataset, 2).skipped


def test_repeated_images(tmp_path):
    """Decoded once; each position is found."""
    (tmp_path / 'a.jpg').write_bytes(b'')
    (tmp_path / 'b.jpg').write_bytes(JPEG[:-9])
    report = check_images(build(tmp_path, ['a.jpg', 'b.jpg', 'a.jpg', 'b.jpg']))
    assert report.num_decoded == 2 and report.positions == [0, 2] and len(report.cut_off) == 1


def test_failing_disk(tmp_path, monkeypatch):
    """Is not the fault of a file."""

    def fail(*args) -> None:
        raise OSError(5, 'Input/output error')

    dataset = build(tmp_path, ['a.jpg'])
    monkeypatch.setattr('builtins.open', fail)
    with pytest.raises(OSError, match='Input/output error'):
        check_images(dataset)


class Folder(BaseDataset):
    """Images without annotations."""

    def load_data_list(self) -> list:
        return [dict(img_path=path) for path in sorted(map(str, Path(self.data_prefix['img']).iterdir()))]


def test_data_sets_without_annotations(tmp_path):
    for name, content in dict(a=JPEG, b=b'').items():
        (tmp_path / f'{name}.jpg').write_bytes(content)
    dataset = Folder(data_prefix=dict(img=str(tmp_path)), pipeline=[dict(type='mmcv.LoadImageFromFile')])
    assert check_images(dataset).positions == [1]


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks processes')
def test_two_processes(tmp_path, cache):
    """Share the work and find the same."""
    for i in range(8):
        (tmp_path / f'{i}.jpg').write_bytes({2: b'', 5: JPEG[:-9], 7: b'text'}.get(i, JPEG))
    dataset = build(tmp_path, [f'{i}.jpg' for i in range(8)])

    def run(rank: int) -> None:
        torch.set_num_threads(1)  # a fork has none of the other threads
        group = f'file://{tmp_path}/group'
        torch.distributed.init_process_group('gloo', init_method=group, rank=rank, world_size=2)
        reports = []
        for _ in range(2):
            reports.append(vars(check_images(dataset)))
            torch.distributed.barrier()  # until the first process has written the memory
        (tmp_path / f'{rank}.json').write_text(json.dumps(reports))

    start_processes(run, nprocs=2, start_method='fork')
    first, second = (json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(2))
    assert first == second
    assert first[0]['positions'] == [2, 7] and first[0]['cut_off'] == [str(tmp_path / '5.jpg')]
    assert [report['num_decoded'] for report in first] == [8, 0]
    assert len(list((cache / 'images').iterdir())) == 1


def test_own_loaders(tmp_path):
    """Those derived from mmcv's are used; their faults are named."""

    class OwnLoader(LoadImageFromFile):
        def transform(self, results: dict) -> dict:
            if results['img_id'] == 1:
                raise KeyError('depth')
            return super().transform(results)

    for name in 'ab':
        (tmp_path / f'{name}.jpg').write_bytes(JPEG)
    dataset = build(tmp_path, ['a.jpg', 'b.jpg'])
    dataset.pipeline.transforms[0] = OwnLoader()
    report = check_images(dataset)
    assert report.unreadable == {f'{tmp_path}/b.jpg': "not a readable image: KeyError: 'depth'"}
