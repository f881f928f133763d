import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmthunder.runtime.__main__ import PictureWriter, check_names, find_image_ids, main
from mmthunder.runtime.media import Frame


@pytest.fixture
def folder(tmp_path):
    """Three images, one of which is broken, and a text file."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for name in ('000000000139.jpg', 'b.png'):
        cv2.imwrite(str(folder / name), np.zeros((64, 64, 3), np.uint8))
    (folder / 'broken.jpg').write_bytes(b'no image')
    (folder / 'empty.jpg').touch()
    (folder / 'notes.txt').write_text('not an image')
    return folder


def test_folder(folder, model_file, tmp_path, capsys):
    """The broken files are named, the rest goes on, and the result tells of them."""
    out = tmp_path / 'out'
    assert main([str(model_file), str(folder), '--output', str(out), '--threads', '1', '--batch', '3']) == 1
    printed = capsys.readouterr()
    assert f'{folder / "broken.jpg"}: not readable' in printed.err and '4/4' in printed.err
    assert '2 of 4 files could not be read' in printed.err and '4 detections in 2 images' in printed.out
    results = json.loads((out / 'detections.json').read_text())
    assert results[0] == dict(
        image_id=0, category_id=18, bbox=[8, 8, 32, 32], score=pytest.approx(0.9), file_name='000000000139.jpg'
    )
    assert [result['image_id'] for result in results] == [0, 0, 1, 1]
    assert sorted(path.name for path in (out / 'pictures').iterdir()) == ['000000000139.jpg', 'b.png']
    picture = cv2.imread(str(out / 'pictures/b.png'))
    assert picture.shape == (64, 64, 3) and picture[40, 8:41].any(-1).all() and not picture[50, 10].any()


def test_bad_files(folder, model_file, tmp_path, capsys):
    """A folder called like an image is none; a link to nothing and too large a picture are left out."""
    bad = tmp_path / 'bad'
    (bad / 'a.jpg').mkdir(parents=True)
    (bad / 'b.jpg').symlink_to(bad / 'missing.jpg')
    header = b'IHDR' + struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0)
    (bad / 'c.png').write_bytes(
        b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + header + struct.pack('>I', zlib.crc32(header))
    )
    (bad / 'd.png').write_bytes((folder / 'b.png').read_bytes())
    out = tmp_path / 'out'
    assert main([str(model_file), str(bad), '--output', str(out), '--threads', '1']) == 1
    printed = capsys.readouterr()
    assert f'2 of 3 files could not be read: {bad / "b.jpg"}, {bad / "c.png"}' in printed.err
    assert {result['file_name'] for result in json.loads((out / 'detections.json').read_text())} == {'d.png'}


@pytest.mark.parametrize('error', [OSError('disk full'), KeyboardInterrupt()], ids=['disk', 'interrupt'])
def test_stopped(folder, model_file, tmp_path, monkeypatch, capsys, error):
    """What was found before is written, and the video that was begun is finished."""
    written, closed = [], []

    def write(writer: PictureWriter, frame: Frame, picture: np.ndarray) -> None:
        written.append(frame.path)
        if len(written) == 2:
            raise error

    monkeypatch.setattr(PictureWriter, 'write', write)
    monkeypatch.setattr(PictureWriter, 'close', lambda writer: closed.append(writer))
    arguments = [str(model_file), str(folder), '--output', str(tmp_path / 'out'), '--threads', '1']
    if isinstance(error, OSError):
        assert main(arguments) == 2
    else:
        with pytest.raises(KeyboardInterrupt):
            main(arguments)
    assert '4 detections in 2 images' in capsys.readouterr().out and len(closed) == 1
    names = [result['file_name'] for result in json.loads((tmp_path / 'out/detections.json').read_text())]
    assert names == ['000000000139.jpg'] * 2 + ['b.png'] * 2


def test_image_numbers():
    """Where all images are called by different numbers, these are their ids."""
    files = [Path('000000000139.jpg'), Path('7.png')]
    assert find_image_ids(files, None) == {files[0]: 139, files[1]: 7}
    for other in ('b.png', '007.png', '8.avi', '².png'):
        assert find_image_ids([*files, Path(other)], None) is None


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{}', 'not a COCO annotation file'),
        ('no JSON', 'not a COCO annotation file'),
        ('{"images": [{"file_name": "b.png"}]}', 'not a COCO annotation file'),
        ('{"images": [{"file_name": "c.png", "id": 1}]}', 'has no image called b.png'),
    ],
)
def test_wrong_annotations(tmp_path, text, message):
    path = tmp_path / 'annotations.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=f'annotations.json: {message}'):
        find_image_ids([Path('b.png')], str(path))


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        (['a/1.jpg', 'b/1.jpg'], 'b/1.jpg and a/1.jpg: the results of both would be called 1.jpg'),
        (['clip.avi', 'clip.mov'], 'clip.mov and clip.avi: .* called clip.mp4'),
        (['out/pictures/1.jpg'], 'its drawn picture would replace it'),
    ],
)
def test_results_of_one_name(files, message):
    with pytest.raises(ValueError, match=message):
        check_names([Path(file) for file in files], Path('out/pictures'))
    check_names([Path('a/1.jpg'), Path('a/1.png'), Path('1.avi')], Path('out/pictures'))


def test_picture_not_written(tmp_path):
    writer = PictureWriter(tmp_path / 'pictures')
    writer.folder.rmdir()
    image = np.zeros((64, 64, 3), np.uint8)
    for frame in (Frame(Path('a.jpg'), None, image), Frame(Path('a.avi'), 0, image)):
        with pytest.raises(OSError, match=r'pictures/a.(jpg|mp4): could not be written'):
            writer.write(frame, image)


def test_image_ids(folder, model_file, tmp_path):
    annotations = tmp_path / 'annotations.json'
    annotations.write_text(json.dumps(dict(images=[dict(id=77, file_name='val/b.png')])))
    out = tmp_path / 'out'
    code = main(
        [
            str(model_file),
            str(folder / 'b.png'),
            '--output',
            str(out),
            '--annotations',
            str(annotations),
            '--no-pictures',
            '--threads',
            '1',
        ]
    )
    assert code == 0
    assert [result['image_id'] for result in json.loads((out / 'detections.json').read_text())] == [77, 77]
    assert not (out / 'pictures').exists()


def test_results_are_cocos(folder, model_file, tmp_path):
    """pycocotools reads them."""
    from pycocotools.coco import COCO

    main([str(model_file), str(folder / 'b.png'), '--output', str(tmp_path), '--threads', '1'])
    coco = COCO()
    coco.dataset = dict(images=[dict(id=0)], categories=[dict(id=17), dict(id=18)], annotations=[])
    coco.createIndex()
    results = coco.loadRes(str(tmp_path / 'detections.json'))
    assert [annotation['area'] for annotation in results.dataset['annotations']] == [1024, 4096]


def test_video(model_file, tmp_path):
    path = tmp_path / 'clip.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 64))
    if not writer.isOpened():
        pytest.skip('this OpenCV writes no video')
    for _ in range(3):
        writer.write(np.zeros((64, 64, 3), np.uint8))
    writer.release()
    out = tmp_path / 'out'
    assert main([str(model_file), str(path), '--output', str(out), '--batch', '2', '--threads', '1']) == 0
    results = json.loads((out / 'detections.json').read_text())
    assert [result['frame'] for result in results] == [0, 0, 1, 1, 2, 2]
    capture = cv2.VideoCapture(str(out / 'pictures/clip.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_broken_video(model_file, tmp_path, capsys):
    path = tmp_path / 'broken.mp4'
    path.write_bytes(b'no video')
    assert main([str(model_file), str(path), '--output', str(tmp_path / 'out'), '--threads', '1']) == 1
    assert f'{path}: not readable, left out' in capsys.readouterr().err
    assert json.loads((tmp_path / 'out/detections.json').read_text()) == []


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('empty', 'no images in this folder'),
        ('missing', 'no such file or folder'),
        ('file.txt', 'neither an image'),
    ],
)
def test_wrong_input(model_file, tmp_path, capsys, name, message):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file.txt').touch()
    assert main([str(model_file), str(tmp_path / name), '--output', str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f'error: {tmp_path / name}: {message}') and error.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_command(repo, folder, tmp_path):
    """As a user calls it, with a file that is no model."""
    command = [sys.executable, '-m', 'mmthunder.runtime', folder / 'notes.txt', folder, '--output', tmp_path / 'out']
    result = subprocess.run(command, cwd=repo, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith(f'error: {folder / "notes.txt"}: not a graph that')
    assert 'Traceback' not in result.stderr
