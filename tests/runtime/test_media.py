import cv2
import numpy as np
import pytest

from mmthunder.runtime import Detections
from mmthunder.runtime.media import InputFile, draw, read_frames
from mmthunder.runtime.preprocessing import LoadImageFromFile


@pytest.fixture
def video(tmp_path) -> InputFile:
    """Three red frames of 64x48 px."""
    path = tmp_path / 'clip.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    if not writer.isOpened():
        pytest.skip('this OpenCV writes no video')
    for _ in range(3):
        writer.write(np.full((48, 64, 3), (0, 0, 255), np.uint8))
    writer.release()
    return InputFile(path, 'clip.avi')


def test_video_is_closed(video, monkeypatch):
    """Also where its frames are not read to the end."""
    opened, capture = [], cv2.VideoCapture

    def open_video(path: str) -> cv2.VideoCapture:
        opened.append(capture(path))
        return opened[-1]

    monkeypatch.setattr(cv2, 'VideoCapture', open_video)
    frames = read_frames([video])
    assert next(frames).image.shape == (48, 64, 3) and opened[0].isOpened()
    frames.close()
    assert len(opened) == 1 and not opened[0].isOpened()


def test_grey_video(video):
    frames = list(read_frames([video], LoadImageFromFile('grayscale')))
    assert [(frame.index, frame.image.shape) for frame in frames] == [(i, (48, 64)) for i in range(3)]
    assert abs(int(frames[0].image[24, 32]) - 76) < 5


def test_draw_on_grey():
    found = Detections(np.float32([[4, 4, 40, 40]]), np.float32([0.9]), np.int64([0]))
    image = np.zeros((48, 64), np.uint8)
    picture = draw(image, found, ['cat'], 0.3)
    assert picture.shape == (48, 64, 3) and picture[40, 4:41].any(-1).all() and not image.any()
