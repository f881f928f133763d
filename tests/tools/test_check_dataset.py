import json
import re
import shutil
from pathlib import Path
from typing import Callable, Tuple

import pytest
from mmengine.config import Config


@pytest.fixture
def root(shapes, tmp_path) -> Path:
    return shutil.copytree(shapes, tmp_path / 'shapes')


@pytest.fixture
def check(tiny_cfg: Config, load_tool, root, tmp_path, capsys) -> Callable:
    """Check the dataset; returns the exit status and what is printed."""
    tool = load_tool('check_dataset.py')
    for loader in (tiny_cfg.train_dataloader, tiny_cfg.val_dataloader, tiny_cfg.test_dataloader):
        loader.dataset.data_root = f'{root}/'
    for evaluator in (tiny_cfg.val_evaluator, tiny_cfg.test_evaluator):
        evaluator.ann_file = f'{root}/annotations/val.json'

    def check(*args: str) -> Tuple[int, str]:
        tiny_cfg.dump(tmp_path / 'config.py')
        status = tool.main([str(tmp_path / 'config.py'), *args])
        return status, capsys.readouterr().out

    return check


def lines(out: str, kind: str) -> list:
    return re.findall(f'^  {kind}: (.*)$', out, re.MULTILINE)


def test_without_errors(check, root):
    status, out = check()
    assert status == 0 and out.endswith('0 errors, 0 warnings\n')
    content = json.loads((root / 'annotations/train.json').read_text())
    assert (
        f'train_dataloader.dataset: {root}/annotations/train.json\n  8 images, {len(content["annotations"])} obj' in out
    )
    assert re.search(r'circle +id +1 +\d+ objects', out)
    assert '8 of the 8 images that the config selects decode\n' in out
    assert 'val_dataloader' in out and 'test_dataloader' not in out  # which is the same


def test_all_errors_are_printed(check, tiny_cfg, root):
    """Of all data loaders, of annotations, images, class lists, the model and evaluators."""
    path = root / 'annotations/train.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['bbox'] = [1, 2, 3]
    del content['images'][1]['width']
    path.write_text(json.dumps(content))
    (root / 'val/000001.jpg').write_bytes(b'')
    (root / 'val/000002.jpg').unlink()
    tiny_cfg.val_evaluator.ann_file = str(path)
    tiny_cfg.model.roi_head.bbox_head.num_classes = 5
    tiny_cfg.test_dataloader.dataset.data_root = 'nowhere/'
    status, out = check()
    assert status == 1 and out.endswith('6 errors, 0 warnings\n')
    found = lines(out, 'error')
    for error, parts in zip(
        found,
        (
            ('train.json: images[1]', 'width is missing'),
            ('train.json: annotations[0]', 'bbox is [1, 2, 3]'),
            ('val.json: 2 of 4 images cannot be used', '000001.jpg (an empty file)', '000002.jpg (No such file'),
            ('model.roi_head.bbox_head.num_classes is 5',),
            ('val_evaluator.ann_file is', 'train.json'),
            ('nowhere/annotations/val.json',),
        ),
    ):
        assert all(part in error for part in parts), error


def test_other_classes(check, tiny_cfg):
    tiny_cfg.val_dataloader.dataset.metainfo = dict(classes=('circle', 'ring'))
    status, out = check()
    assert status == 1 and any(
        "val_dataloader has the classes ('circle', 'ring')" in line for line in lines(out, 'error')
    )


def test_warnings(check, root):
    """A training does without images that do not decode."""
    for i in range(3):
        (root / f'train/00000{i}.jpg').write_bytes(b'')
    path = root / 'train/000005.jpg'
    path.write_bytes(path.read_bytes()[:-20])
    status, out = check('--loaders', 'train')
    assert status == 0 and out.endswith('0 errors, 2 warnings\n') and 'val_dataloader' not in out
    assert '5 of the 8 images that the config selects decode, 1 of them in part' in out
    left_out, cut_off = lines(out, 'warning')
    assert all(f'00000{i}.jpg' in left_out for i in range(3)) and '000005.jpg' in cut_off
    status, out = check('--loaders', 'train', '--cfg-options', 'dataset_check.strict=True')
    assert status == 1 and '4 of 8 images cannot be used' in out
    status, out = check('--no-images')
    assert status == 0 and 'decode' not in out


def test_large_data_sets_are_checked(check, monkeypatch):
    """What a training does not do by itself."""
    monkeypatch.setattr('mmthunder.datasets.image_files.MAX_IMAGES', 1)
    assert '8 of the 8 images' in check()[1]


def test_no_config(load_tool, capsys, tmp_path):
    (tmp_path / 'config.py').write_text('a = (')
    for path in ('nowhere.py', tmp_path / 'config.py'):
        assert load_tool('check_dataset.py').main([str(path)]) == 2
        message = capsys.readouterr().err
        assert message.startswith(f'{path}: ') and message.count('\n') == 1


@pytest.mark.parametrize('name', ['snet49_bccd'])
def test_pascal_voc(load_tool, shared, repo, capsys, name):
    """Real photographs, behind a wrapper."""
    keys = ('train_dataloader.dataset.dataset', 'val_dataloader.dataset', 'test_dataloader.dataset')
    options = [f'{key}.data_root={shared}/data/BCCD/' for key in keys]
    config = repo / f'configs/thundernet/{name}.py'
    assert load_tool('check_dataset.py').main([str(config), '--cfg-options', *options]) == 0
    out = capsys.readouterr().out
    assert '205 images' in out and '87 images' in out and 'RBC' in out


def test_without_a_test_set(check, tiny_cfg):
    tiny_cfg.test_dataloader = tiny_cfg.test_evaluator = None
    assert check()[0] == 0
