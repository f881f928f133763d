"""What annotations become that mmdet does not read."""

import re
from pathlib import Path
from typing import Callable, List

import numpy as np
import pytest
from PIL import Image, ImageOps

from mmthunder.planning.frames import ORIENTATION
from mmthunder.planning.importing import import_coco
from mmthunder.planning.layouts import find_layout
from mmthunder.planning.planning_error import PlanningError


def boxes_of(root: Path, stem: str) -> List[List[float]]:
    """Return the imported boxes of an image, (x1, y1, x2, y2)."""
    content = import_coco(find_layout(root))[0]['train']
    (number,) = [image['id'] for image in content['images'] if Path(image['file_name']).stem == stem]
    boxes = [entry['bbox'] for entry in content['annotations'] if entry['image_id'] == number]
    return [[x, y, x + width, y + height] for x, y, width, height in boxes]


def change_xml(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize('orientation', range(1, 9))
def test_boxes_in_pixels_of_the_file(orientation, write, photos):
    """Those of photographs that EXIF turns by 90 degrees are turned too, which their annotated size tells."""
    root, photo = write('voc_flat'), photos['train'][0]
    exif, mask = Image.Exif(), np.zeros(photo.pixels.shape[:2], np.uint8)
    exif[ORIENTATION] = orientation
    Image.fromarray(photo.pixels).save(root / 'train00.jpg', exif=exif)
    x1, y1, x2, y2 = photo.boxes[0]
    mask[y1:y2, x1:x2] = 255
    Image.fromarray(mask).save(root.parent / 'mask.png', exif=exif if orientation > 4 else None)
    expected = ImageOps.exif_transpose(Image.open(root.parent / 'mask.png')).getbbox()
    np.testing.assert_allclose(boxes_of(root, 'train00')[0], expected)


def test_images_of_another_size(write):
    """They are counted if their boxes fit, otherwise left out; if those are most, it is an error."""
    root = write('voc_flat')
    for path in sorted(root.glob('*.jpg'))[:3]:
        image = Image.open(path)
        image.resize((192, 128)).save(path)
    Image.new('RGB', (20, 20)).save(root / 'train04.jpg')
    contents, (left_out, note) = import_coco(find_layout(root))
    assert len(contents['train']['images']) == 13
    assert re.search('left out: .*train04.jpg: has 20x20 px, but .*train04.xml says 96x64, and boxes', left_out)
    assert re.search('3 images have another size.*train00.jpg has 192x128 px, but .*train00.xml says 96x64', note)
    for path in root.glob('*.jpg'):
        Image.new('RGB', (20, 20)).save(path)
    with pytest.raises(PlanningError, match='12 of 14 images.*train00.jpg: has 20x20'):
        import_coco(find_layout(root))


def test_difficult_boxes_are_crowds(write):
    """mmdet then ignores them, as in VOC data that it reads itself."""
    root = write('voc_flat')
    change_xml(root / 'train00.xml', lambda text: text.replace('</name>', '</name><difficult>1</difficult>', 1))
    annotations = import_coco(find_layout(root))[0]['train']['annotations']
    assert [entry['iscrowd'] for entry in annotations[:4]] == [1, 0, 0, 0]


def test_keypoints_are_left_out(write, photos):
    root = write('yolo')
    (root / 'data.yaml').write_text('train: images/train\nkpt_shape: [2, 3]\nnames: [cat, dog]\n')
    path = root / 'labels/train/train00.txt'
    path.write_text('\n'.join(f'{line} 0 0 0 0.9 0.9 2' for line in path.read_text().split('\n')))
    np.testing.assert_allclose(boxes_of(root, 'train00'), photos['train'][0].boxes, atol=0.02)


def test_images_above_the_limit_of_pillow(write, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    contents, left_out = import_coco(find_layout(write('yolo')))
    assert len(contents['train']['images']) == 10 and not left_out and Image.MAX_IMAGE_PIXELS == 1000
