from pathlib import Path
from types import ModuleType

import cv2
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config


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
