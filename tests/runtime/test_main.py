import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmthunder.runtime.__main__ import PictureWriter, check_names, main, number_ids, read_image_ids
from mmthunder.runtime.media import Frame, InputFile, list_files


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
    """A directory called like an image is none; a link to nothing and too large a picture are left out."""
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
        written.append(frame.file)
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


def as_files(*paths: str) -> list:
    return [InputFile(Path(path), path) for path in paths]


def test_image_numbers():
    """Where all images are called by different numbers, these are their ids."""
    files = as_files('000000000139.jpg', '7.png')
    assert number_ids(files) == {Path('000000000139.jpg'): 139, Path('7.png'): 7}
    for other in ('b.png', '007.png', '8.avi', '².png'):
        assert number_ids([*files, *as_files(other)]) is None


@pytest.fixture
def annotate(tmp_path):
    """A function that writes an annotation file with images of the given names, whose ids are 1, 2, 3..."""

    def write(*names: str) -> str:
        path = tmp_path / 'annotations.json'
        images = [dict(id=i, file_name=name) for i, name in enumerate(names, 1)]
        path.write_text(json.dumps(dict(images=images)))
        return str(path)

    return write


@pytest.mark.parametrize(
    ('names', 'paths', 'ids'),
    [
        (['a.jpg', 'b.jpg'], ['x/b.jpg', 'x/a.jpg'], [2, 1]),
        (['cam0/1.jpg', 'cam1/1.jpg'], ['val/cam1/1.jpg', 'val/cam0/1.jpg'], [2, 1]),
        (['cam0/1.jpg', 'cam1/1.jpg'], ['cam1/1.jpg'], [2]),
        (['1.jpg', 'cam0/1.jpg'], ['cam0/1.jpg'], [2]),
        (['1.jpg', 'cam0/1.jpg'], ['cam9/1.jpg', 'cam0/1.jpg'], [1, 2]),
        (['cam0\\1.jpg', r'.\cam1\1.jpg'], ['val/cam1/1.jpg'], [2]),
        (['x/day1/cam0/1.jpg', 'y/day1/cam0/1.jpg'], ['y/day1/cam0/1.jpg'], [2]),
    ],
)
def test_annotated_ids(annotate, capsys, names, paths, ids):
    """By the longest common end of file_name and path, whatever the directories above."""
    found = read_image_ids(as_files(*paths), annotate(*names))
    assert [found[Path(path)] for path in paths] == ids
    assert capsys.readouterr().err == ''


def test_annotated_in_another_directory(annotate, capsys):
    """The name alone says which image it is, and a warning which one it is taken for."""
    path = annotate('val/a.jpg', 'val/b.jpg')
    assert read_image_ids(as_files('photos/b.jpg'), path) == {Path('photos/b.jpg'): 2}
    warning = capsys.readouterr().err
    assert warning.startswith('warning: 1 of 1 images') and 'photos/b.jpg is taken for val/b.jpg' in warning


def test_text_ids(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps(dict(images=[dict(id='0f3c', file_name='a.jpg')])))
    assert read_image_ids(as_files('a.jpg'), str(tmp_path / 'a.json')) == {Path('a.jpg'): '0f3c'}


def test_ambiguous_annotations(annotate, tmp_path, monkeypatch, capsys):
    """What the messages advise leads to the ids."""
    monkeypatch.chdir(tmp_path)
    path = annotate('cam0/1.jpg', 'cam1/1.jpg')
    with pytest.raises(ValueError, match=r'x/1.jpg may be cam0/1.jpg or cam1/1.jpg; put the images into directories'):
        read_image_ids(as_files('x/1.jpg'), path)
    assert read_image_ids(as_files('x/cam1/1.jpg'), path) == {Path('x/cam1/1.jpg'): 2}

    path = annotate('cam1/1.jpg')
    with pytest.raises(ValueError, match=r'cam0/1.jpg and cam1/1.jpg both match cam1/1.jpg; leave out'):
        read_image_ids(as_files('cam0/1.jpg', 'cam1/1.jpg'), path)
    assert read_image_ids(as_files('cam1/1.jpg'), path) == {Path('cam1/1.jpg'): 1}

    with pytest.raises(ValueError, match=r'two images have the file_name a/1.jpg'):
        read_image_ids(as_files('a/1.jpg'), annotate('a/1.jpg', 'a/1.jpg'))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{}', 'not a COCO annotation file'),
        ('no JSON', 'not a COCO annotation file'),
        ('{"images": [{"file_name": "b.png"}]}', 'not a COCO annotation file'),
        ('{"images": [{"file_name": 3, "id": 1}]}', 'not a COCO annotation file'),
        ('{"images": [{"file_name": "c.png", "id": 1}]}', 'has no image called b.png'),
    ],
)
def test_wrong_annotations(tmp_path, text, message):
    path = tmp_path / 'annotations.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=f'annotations.json: {message}'):
        read_image_ids(as_files('b.png'), str(path))


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Two directories with images of one name, and one beside them; the working directory is theirs."""
    monkeypatch.chdir(tmp_path)
    for name in ('val/cam0/1.jpg', 'val/cam0/2.jpg', 'val/cam1/1.jpg', 'val/.thumbnails/1.jpg'):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, np.zeros((64, 64, 3), np.uint8))
    return tmp_path


@pytest.mark.parametrize(
    ('inputs', 'names'),
    [
        (['val'], ['cam0/1.jpg', 'cam0/2.jpg', 'cam1/1.jpg']),
        (['val/cam0'], ['1.jpg', '2.jpg']),
        (['val/cam1', 'val/cam0'], ['cam1/1.jpg', 'cam0/1.jpg', 'cam0/2.jpg']),
        (['val/cam0/2.jpg', 'val/cam1'], ['2.jpg', '1.jpg']),
        (['val/cam0/1.jpg', 'val/cam1/1.jpg'], ['cam0/1.jpg', 'cam1/1.jpg']),
    ],
)
def test_names(tree, inputs, names):
    """Below the given directory, and where that is not unique below the one that all are in."""
    files = list_files(inputs)
    assert [file.name for file in files] == names
    assert all(file.path.is_file() and str(file.path).endswith(file.name) for file in files)


def test_given_twice(tree):
    with pytest.raises(ValueError, match='val/cam0/1.jpg: given 2 times'):
        list_files(['val', 'val/cam0/1.jpg'])


def test_nested(tree, model_file, annotate):
    """Results and pictures keep the directories, also when the results are written below the images."""
    command = [str(model_file), 'val', '--output', 'val/out', '--threads', '1']
    for _ in range(2):  # the second run does not see the pictures of the first
        assert main(command + ['--annotations', annotate('cam1/1.jpg', 'cam0/1.jpg', 'cam0/2.jpg')]) == 0
    results = json.loads(Path('val/out/detections.json').read_text())
    assert [(result['file_name'], result['image_id']) for result in results[::2]] == [
        ('cam0/1.jpg', 2),
        ('cam0/2.jpg', 3),
        ('cam1/1.jpg', 1),
    ]
    pictures = sorted(path.relative_to('val/out/pictures').as_posix() for path in Path('val/out').rglob('*.jpg'))
    assert pictures == ['cam0/1.jpg', 'cam0/2.jpg', 'cam1/1.jpg']


def test_results_of_one_name(tree):
    pictures = Path('out/pictures')
    with pytest.raises(ValueError, match=r'clip.mov and clip.avi: .* called clip.mp4; .*--output'):
        check_names(as_files('clip.avi', 'clip.mov'), pictures)
    with pytest.raises(ValueError, match=r'val/cam0/1.jpg: its picture would replace out/pictures/1.jpg'):
        Path('out').mkdir()
        pictures.symlink_to('../val/cam0')
        check_names(list_files(['val/cam0']), pictures)
    check_names(as_files('a/1.jpg', 'a/1.png', '1.avi'), Path('elsewhere'))


def test_picture_not_written(tmp_path):
    writer = PictureWriter(tmp_path / 'pictures')
    for name in ('a.jpg', 'a.mp4'):
        (writer.directory / name).mkdir()
    image = np.zeros((64, 64, 3), np.uint8)
    for name, index in (('a.jpg', None), ('a.avi', 0)):
        frame = Frame(*as_files(name), index, image)
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
        ('empty', 'no images in this directory'),
        ('missing', 'no such file or directory'),
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
