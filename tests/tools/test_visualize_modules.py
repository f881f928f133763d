from pathlib import Path
from types import ModuleType

import cv2
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image

from mmthunder.apis import load_detector
from mmthunder.models.detectors import ThunderNet


@pytest.fixture(scope='module')
def visualize_modules(load_tool) -> ModuleType:
    return load_tool('analysis_tools/visualize_modules.py')


@pytest.fixture
def files(tiny_cfg: Config, tmp_path: Path) -> tuple:
    """A config and a checkpoint of random weights."""
    tiny_cfg.model.test_cfg.rcnn.max_per_img = 3
    config, checkpoint = tmp_path / 'tiny.py', tmp_path / 'tiny.pth'
    tiny_cfg.dump(config)
    model = MODELS.build(tiny_cfg.model)
    model.init_weights()
    meta = dict(dataset_meta=dict(classes=tiny_cfg.metainfo.classes))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), checkpoint)
    return str(config), str(checkpoint)


def test_outputs(visualize_modules, files, shapes):
    """What is kept is what the modules give."""
    model = init_detector(*files, device='cpu')
    outputs = visualize_modules.ModuleOutputs(model)
    sample = inference_detector(model, str(shapes / 'val/000000.jpg'))
    assert {name: tuple(values.shape) for name, values in outputs.maps.items()} == {
        'CEM': (245, 4, 4),
        'attention': (245, 4, 4),
        'SAM': (245, 4, 4),
    }
    assert torch.equal(outputs.maps['SAM'], outputs.maps['CEM'] * outputs.maps['attention'])
    # Proposals as the RPN orders them, the best first.
    image = cv2.resize(cv2.imread(str(shapes / 'val/000000.jpg')), (64, 64))
    inputs = model.data_preprocessor(dict(inputs=[torch.from_numpy(image).permute(2, 0, 1)]))['inputs']
    with torch.no_grad():
        (expected,) = model.rpn_head.predict(model.extract_feat(inputs), [sample])
    assert (expected.scores.diff() <= 0).all()
    assert torch.allclose(outputs.proposals, expected.bboxes, atol=1e-3)


def test_distance_from_mean(visualize_modules):
    feature_map = torch.tensor([[[1.0, 3.0]], [[10.0, 2.0]]])  # mean cell (2, 6)
    expected = torch.tensor([[17.0, 17.0]]).sqrt()
    assert torch.allclose(visualize_modules.distance_from_mean(feature_map), expected)


@pytest.mark.parametrize('size', [(96, 96), (60, 130)])
def test_picture(visualize_modules, files, tmp_path, size):
    image = tmp_path / 'image.png'
    cv2.imwrite(str(image), torch.randint(0, 255, (*size, 3), dtype=torch.uint8).numpy())
    out = tmp_path / 'new/modules.png'
    visualize_modules.main([str(image), *files, '--out', str(out), '--score-thr', '0'])
    picture = cv2.imread(str(out))
    assert picture.shape[1] == 1350
    thirds = [
        panel
        for row in (picture[: len(picture) // 2], picture[len(picture) // 2 :])
        for panel in (row[:, :450], row[:, 450:900], row[:, 900:])
    ]
    assert all(panel.std() > 20 for panel in thirds)


def test_without_sam(visualize_modules, files, tmp_path, shapes, tiny_cfg, capsys):
    config, checkpoint = files
    tiny_cfg.model.sam = None
    tiny_cfg.dump(config)
    out = tmp_path / 'modules.png'
    arguments = [str(shapes / 'val/000000.jpg'), config, checkpoint, '--out', str(out)]
    with pytest.raises(SystemExit):
        visualize_modules.main(arguments)
    error = capsys.readouterr().err.splitlines()[-1]
    assert f'{checkpoint}: this checkpoint is of another architecture' in error and 'sam.theta' in error
    weights = torch.load(checkpoint, weights_only=True)
    weights['state_dict'] = {key: value for key, value in weights['state_dict'].items() if not key.startswith('sam')}
    torch.save(weights, checkpoint)
    visualize_modules.main(arguments)
    picture = cv2.imread(str(out))
    below = picture[len(picture) // 2 + 20 :]
    assert below[:, :450].std() > 20 and (below[:, 450:] == 255).all()


def test_other_detector(visualize_modules, files, tiny_cfg, capsys):
    config, checkpoint = files
    tiny_cfg.model.type = 'FasterRCNN'
    tiny_cfg.dump(config)
    with pytest.raises(SystemExit):
        visualize_modules.main(['image.jpg', config, checkpoint])
    assert 'has a FasterRCNN; give the config of a ThunderNet' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        visualize_modules.main(['image.jpg', 'nowhere.py', checkpoint])
    assert 'nowhere.py' in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('grey', [False, True])
def test_without_test_set(visualize_modules, files, tiny_cfg, tmp_path, capsys, grey):
    """With --shape; the training's loader says how images are read."""
    config, checkpoint = files
    tiny_cfg.test_dataloader = tiny_cfg.val_dataloader = None
    if grey:
        tiny_cfg.train_dataloader.dataset.pipeline[0].color_type = 'grayscale'
        tiny_cfg.model.backbone.in_channels = 1
        tiny_cfg.model.data_preprocessor.update(mean=[114.0], std=[57.0], bgr_to_rgb=False)
        torch.save(MODELS.build(tiny_cfg.model).state_dict(), checkpoint)
    tiny_cfg.dump(config)
    image, out = tmp_path / 'image.png', tmp_path / 'modules.png'
    cv2.imwrite(str(image), torch.randint(0, 255, (96, 96, 3), dtype=torch.uint8).numpy())
    arguments = [str(image), config, checkpoint, '--out', str(out)]
    with pytest.raises(SystemExit):
        visualize_modules.main(arguments)
    assert '--shape HEIGHT WIDTH' in capsys.readouterr().err.splitlines()[-1]
    visualize_modules.main([*arguments, '--shape', '64', '64'])
    assert cv2.imread(str(out)).std() > 20


def test_turned_image(visualize_modules, files, tiny_cfg, tmp_path):
    """The picture shows the pixels that the detector sees."""
    config, checkpoint = files
    image = tmp_path / 'image.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    pixels = torch.randint(0, 255, (60, 130, 3), dtype=torch.uint8).numpy()
    Image.fromarray(pixels).save(image, exif=exif.tobytes())
    sides = {}
    for color_type in ('color', 'color_ignore_orientation'):
        tiny_cfg.test_dataloader.dataset.pipeline[0].color_type = color_type
        tiny_cfg.dump(config)
        visualize_modules.main([str(image), config, checkpoint, '--out', str(tmp_path / f'{color_type}.png')])
        height, width = cv2.imread(str(tmp_path / f'{color_type}.png')).shape[:2]
        sides[color_type] = height / width
    assert sides['color'] > 1 > sides['color_ignore_orientation']


def test_missing_image(visualize_modules, files, tmp_path, capsys):
    (tmp_path / 'text.jpg').write_text('no image')
    for name in ('text.jpg', 'missing.jpg'):
        with pytest.raises(SystemExit):
            visualize_modules.main([str(tmp_path / name), *files])
        assert name in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('kind', ['mmdet.ThunderNet', ThunderNet], ids=['scope', 'class'])
def test_types(visualize_modules, files, tiny_cfg, tmp_path, shapes, kind, monkeypatch):
    """A name with its scope, and a class, as pure Python configs have it."""
    config, checkpoint = files
    tiny_cfg.model.type = kind
    monkeypatch.setattr(visualize_modules.Config, 'fromfile', lambda path: tiny_cfg)
    monkeypatch.setattr(visualize_modules, 'load_detector', lambda path, weights: load_detector(tiny_cfg, weights))
    visualize_modules.main([str(shapes / 'val/000000.jpg'), config, checkpoint, '--out', str(tmp_path / 'a.png')])
    assert cv2.imread(str(tmp_path / 'a.png')).std() > 20
