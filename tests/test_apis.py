"""mmdet's ways to run a detector from a config and a checkpoint."""

import shutil
from pathlib import Path

import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate

from mmthunder.apis import load_detector

KEYS = ('bboxes', 'scores', 'labels')


@pytest.fixture
def files(tiny_cfg: Config, tmp_path: Path) -> tuple:
    """A config and a checkpoint with random weights whose scores differ."""
    config, checkpoint = tmp_path / 'tiny.py', tmp_path / 'tiny.pth'
    tiny_cfg.dump(config)
    detector = load_detector(config)
    torch.nn.init.normal_(detector.roi_head.bbox_head.fc_cls.weight, std=0.5)
    torch.save(dict(state_dict=detector.state_dict(), meta=dict(dataset_meta=detector.dataset_meta)), checkpoint)
    return str(config), str(checkpoint)


@pytest.fixture
def image(shapes: Path, tmp_path: Path) -> str:
    """An image of 96 px, which the pipeline resizes to 64."""
    return shutil.copy(shapes / 'val/000000.jpg', tmp_path)


@pytest.fixture
def expected(files: tuple, image: str) -> dict:
    """What ``test_step`` finds in the image, in its pixels."""
    detector = init_detector(*files, device='cpu')
    pipeline = Compose(detector.cfg.test_dataloader.dataset.pipeline)
    with torch.no_grad():
        (result,) = detector.test_step(pseudo_collate([pipeline(dict(img_path=image, img_id=0))]))
    instances = result.pred_instances
    assert len(instances) > 10 and instances.scores.std() > 0.01 and instances.bboxes.max() > 64
    return {key: instances[key] for key in KEYS}


def test_inference_detector(files, image, expected):
    detector = init_detector(*files, device='cpu')
    assert detector.dataset_meta['classes'] == ('circle', 'square', 'triangle', 'star', 'cross', 'ring')
    single, listed = inference_detector(detector, image), inference_detector(detector, [image, image])[1]
    for result in (single, listed):
        for key in KEYS:
            torch.testing.assert_close(result.pred_instances[key], expected[key], rtol=0, atol=0)


def test_det_inferencer(files, image, expected, tmp_path):
    """Its results as data samples, as numbers and as files."""
    inferencer = DetInferencer(*files, device='cpu', show_progress=False)
    (sample,) = inferencer(image, return_datasamples=True)['predictions']
    (prediction,) = inferencer(image, out_dir=str(tmp_path / 'out'), no_save_pred=False)['predictions']
    for key in KEYS:
        torch.testing.assert_close(sample.pred_instances[key], expected[key], rtol=0, atol=0)
        torch.testing.assert_close(torch.tensor(prediction[key]), expected[key].to(torch.float32), check_dtype=False)
    assert (tmp_path / 'out/preds/000000.json').is_file() and (tmp_path / 'out/vis/000000.jpg').is_file()
