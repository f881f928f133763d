"""From a directory to a config that trains."""

import json
import re
from pathlib import Path
from typing import Callable

import cv2
import numpy as np
import pytest
import torch
from layout_data import LAYOUTS, coco, draw, save, write_json
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import RUNNERS
from rich.console import Console

from mmthunder.planning import Parts, PlanningError, plan_config, planner
from mmthunder.planning.report import print_plan


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / 'configs/my_data.py'


def dataset_images(cfg: Config, split: str) -> list:
    dataset = DATASETS.build(dict(cfg[f'{split}_dataloader'].dataset, pipeline=[]))
    return sorted(Path(dataset.get_data_info(index)['img_path']).stem for index in range(len(dataset)))


@pytest.mark.parametrize('name', LAYOUTS)
def test_config_of_every_layout(name, write, output, measured, photos):
    """A config of at most 80 lines, which has every image in one split, its classes and two pictures."""
    plan = plan_config(write(name), output, minutes=3, seed=5)
    text = output.read_text()
    assert len(text.splitlines()) <= 80
    assert all(decision.reason in text for decision in plan.decisions.values() if decision.name in ('input_size', 'lr'))
    cfg = Config.fromfile(output)
    assert cfg.metainfo.classes == ('cat', 'dog') and cfg.model.roi_head.bbox_head.num_classes == 2
    assert cfg.randomness.seed == 5
    train, val = dataset_images(cfg, 'train'), dataset_images(cfg, 'val')
    assert sorted(train + val) == sorted(photo.name for split in photos.values() for photo in split)
    assert len(val) == (3 if plan.notes and 'held out' in ' '.join(plan.notes) else 4)
    for picture in ('samples.jpg', 'anchors.png'):
        assert cv2.imread(str(plan.directory / picture)) is not None
    assert not list(output.parent.glob('*draft*'))


def test_iterations_fill_the_time(write, output, measured):
    plan_config(write('coco_own'), output, minutes=10)
    cfg = Config.fromfile(output)
    validations = -(-cfg.train_cfg.max_iters // cfg.train_cfg.val_interval)
    assert 0.9 * 600 < 10 + 0.5 * cfg.train_cfg.max_iters + 2 * validations < 600
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters


def test_busy_machine(write, output, measured, monkeypatch):
    """The plan says that its steps were timed beside other processes."""
    monkeypatch.setattr(planner, 'describe_other_load', lambda consequence: f'other processes; {consequence}')
    (note,) = [note for note in plan_config(write('coco_own'), output).notes if 'other processes' in note]
    assert note.endswith('plan again without them')


def test_same_plan_twice(write, output, measured):
    root = write('coco_one')
    texts = []
    for _ in range(2):
        plan_config(root, output)
        text = output.read_text()
        texts.append((re.sub('num_workers = .*', '', text), (output.with_suffix('') / 'val.json').read_text()))
    assert texts[0] == texts[1]


@pytest.mark.parametrize('name', ['coco_own', 'voc', 'yolo'])
def test_relative_paths(name, write, measured, monkeypatch):
    """They stay relative, as in mmdet's configs."""
    monkeypatch.chdir(write(name).parent)
    plan_config('data', 'my_data.py')
    cfg = Config.fromfile('my_data.py')
    assert cfg.data_root == 'data/'
    assert len(dataset_images(cfg, 'train')) == 10 and len(dataset_images(cfg, 'val')) == 4


def test_config_may_move_with_its_annotations(write, output, measured, tmp_path):
    plan_config(write('coco_one'), output)
    output.parent.rename(tmp_path / 'elsewhere')
    assert len(dataset_images(Config.fromfile(tmp_path / 'elsewhere/my_data.py'), 'train')) == 11


def test_damaged_images(write, output, measured):
    """They are named and left out of both splits."""
    root = write('coco_own')
    (root / 'train2017/train01.jpg').write_bytes(b'')
    (root / 'val2017/val00.jpg').unlink()
    plan = plan_config(root, output)
    notes = '\n'.join(plan.notes)
    assert 'train01.jpg: an empty file' in notes and 'val00.jpg: No such file' in notes
    cfg = Config.fromfile(output)
    assert len(dataset_images(cfg, 'train')) == 9 and len(dataset_images(cfg, 'val')) == 3
    assert len(json.loads(Path(cfg.val_evaluator.ann_file).read_text())['images']) == 3


def test_near_copies_in_both_splits(write, output, measured):
    root = write('coco_own')
    cv2.imwrite(str(root / 'val2017/val01.jpg'), cv2.imread(str(root / 'train2017/train04.jpg')))
    (note,) = [note for note in plan_config(root, output).notes if 'near-copies' in note]
    assert 'train04.jpg' in note and 'val01.jpg' in note


def test_image_that_is_cut_off(write, output, measured):
    """It is used as far as it goes, and named."""
    root = write('coco_own')
    path = root / 'train2017/train04.jpg'
    path.write_bytes(path.read_bytes()[:-30])
    (note,) = [note for note in plan_config(root, output).notes if 'train04' in note]
    assert 'cut off' in note and len(dataset_images(Config.fromfile(output), 'train')) == 10


def test_image_of_another_size(write, output, measured):
    root = write('coco_own')
    path = str(root / 'train2017/train04.jpg')
    cv2.imwrite(path, cv2.imread(path)[:40])
    (note,) = [note for note in plan_config(root, output).notes if 'train04' in note]
    assert '96x40' in note and '96x64' in note


def test_classes_without_a_box(write, output, measured):
    """Those of no split are left out; the user may leave out others."""
    root = write('coco_export')
    plan = plan_config(root, output)
    assert plan.classes == ('cat', 'dog') and any('pets' in note for note in plan.notes)
    plan = plan_config(root, output, classes=['dog'])
    assert plan.classes == ('dog',)
    assert Config.fromfile(output).model.roi_head.bbox_head.num_classes == 1


def change_json(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def no_boxes(content: dict) -> None:
    content['annotations'] = []


def no_dogs(content: dict) -> None:
    content['annotations'] = [entry for entry in content['annotations'] if entry['category_id'] != 2]


def one_image(content: dict) -> None:
    content['images'] = content['images'][:1]
    content['annotations'] = [entry for entry in content['annotations'] if entry['image_id'] == 0]


@pytest.mark.parametrize(
    ('change', 'message'),
    [(no_boxes, 'no boxes'), (no_dogs, "'dog'"), (one_image, '1 image')],
)
def test_annotations_that_teach_nothing(change, message, write, output, measured):
    root = write('coco_own')
    change_json(root / 'annotations/instances_train2017.json', change)
    with pytest.raises(PlanningError, match=message) as error:
        plan_config(root, output)
    assert '\n' not in str(error.value) and 'instances_train2017.json' in str(error.value)
    assert not output.exists()


def test_labels_without_boxes(write, output, measured):
    """The error does not speak of the import."""
    root = write('yolo')
    for path in root.glob('labels/*/*.txt'):
        path.write_text('')
    with pytest.raises(PlanningError, match='no boxes to learn from; annotate'):
        plan_config(root, output)


def test_incomplete_annotations(write, output, measured):
    """What exports lack is added in a copy: areas, crowd flags, and names of which there are two."""
    root = write('coco_export')
    path = root / 'train/_annotations.coco.json'
    before = json.loads(path.read_text())

    def strip(content: dict) -> None:
        content['categories'][0]['name'] = 'dog'
        for entry in content['annotations']:
            del entry['area'], entry['iscrowd']

    change_json(path, strip)
    changed = path.read_text()
    plan = plan_config(root, output)
    assert plan.classes == ('cat', 'dog') and path.read_text() == changed
    written = json.loads((plan.directory / 'train.json').read_text())
    assert written['annotations'] == before['annotations']
    assert sum('in the copy' in note for note in plan.notes) == 3


def test_damaged_annotations(write, output, measured):
    root = write('coco_own')
    path = root / 'annotations/instances_train2017.json'
    change_json(path, lambda content: content['annotations'][3].update(bbox=[0, 0, -5, 3]))
    with pytest.raises(PlanningError, match=r'instances_train2017.json: annotations\[3\].*bbox'):
        plan_config(root, output)


def test_given_decisions(write, output, measured):
    given = dict(stride=8, lr=0.001, flips=[], anchors=[(30, 30)], max_iters=7, backbone='snet146')
    plan = plan_config(write('coco_own'), output, decisions=given)
    cfg = Config.fromfile(output)
    assert {name: plan.value(name) for name in given} == given
    assert cfg.optim_wrapper.optimizer.lr == 0.001 and cfg.train_cfg.max_iters == 7
    assert cfg.warmup < cfg.val_interval <= 7  # which follow
    assert cfg.model.rpn_head.anchor_generator.base_sizes == [[(30, 30)]]
    assert cfg.model.backbone.arch == '146' and cfg.model.neck.in_channels == [132, 528]
    assert not any(step.type == 'RandomFlip' for step in cfg.train_pipeline)
    assert 'the rule says' in plan.decisions['lr'].reason
    for wrong in (dict(learning_rate=1), dict(backbone='resnet')):
        with pytest.raises(PlanningError, match='there is no decision|backbone'):
            plan_config(write('coco_own'), output, decisions=wrong)


def test_given_decisions_that_cannot_be(write, output, measured):
    root = write('coco_own')
    for given in (dict(stride=32), dict(lr='high'), dict(max_iters=0), dict(input_size=320)):
        (name,) = given
        with pytest.raises(PlanningError, match=f'^{name} is'):
            plan_config(root, output, decisions=given)


def test_given_size_and_stride(write, output, measured):
    """The rule takes them, and has nothing else to say."""
    plan = plan_config(write('coco_own'), output, decisions=dict(input_size=[96, 64], stride=16))
    assert plan.decisions['input_size'].reason == plan.decisions['stride'].reason == 'as given'


def test_without_workers(write, output, measured):
    plan_config(write('coco_own'), output, decisions=dict(num_workers=0))
    cfg = Config.fromfile(output)
    assert cfg.train_dataloader.num_workers == 0 and not cfg.train_dataloader.persistent_workers


@pytest.mark.parametrize('name', ['data.py', 'data/plan.py'])
def test_output_in_the_data(name, write, measured, tmp_path):
    """The plan's files would lie among the data's, or replace them."""
    root = write('coco_own')
    before = sorted(root.rglob('*'))
    with pytest.raises(PlanningError, match='outside of'):
        plan_config(root, tmp_path / name)
    assert sorted(root.rglob('*')) == before


def test_names_with_markup(write, output, measured, capsys):
    root = write('coco_own')
    for path in root.glob('annotations/*.json'):
        change_json(path, lambda content: content['categories'][0].update(name='2$ [/red] $'))
    print_plan(plan_config(root, output), Console())
    assert '2$ [/red] $' in capsys.readouterr().out


def test_validation_without_boxes(write, output, measured):
    root = write('coco_own')
    change_json(root / 'annotations/instances_val2017.json', lambda content: content.update(annotations=[]))
    (note,) = [note for note in plan_config(root, output).notes if 'AP' in note]
    assert "'cat', 'dog'" in note


def test_images_that_were_shrunk_after_annotation(write, output, measured):
    root = write('coco_own')

    def double(content: dict) -> None:
        for entry in content['images']:
            entry.update(width=2 * entry['width'], height=2 * entry['height'])

    change_json(root / 'annotations/instances_train2017.json', double)
    (note,) = [note for note in plan_config(root, output).notes if 'another size' in note]
    assert '10 images' in note and '96x64 px, but its annotations say 192x128' in note


@pytest.mark.parametrize('side, message', [(12, 'few objects'), (1, 'no object')])
def test_tiny_objects(side, message, output, measured, tmp_path):
    """They are named, with what helps; without any that is left there is no plan."""
    root, rng = tmp_path / 'tiny', np.random.default_rng(0)
    photos = [draw(rng, f'photo{number}', 1920, 1280) for number in range(5)]
    content = coco(photos, [save(photo, root) for photo in photos])
    for entry in content['annotations']:
        entry['bbox'][2:], entry['area'] = [side, side], side * side
    write_json(content, root / 'labels.json')
    try:
        notes = plan_config(root, output).notes
    except PlanningError as error:
        notes = [str(error)]
    assert any(message in note and 'tiles' in note for note in notes)


@pytest.mark.parametrize('scaling', [(0.7, 1.4), None])
def test_few_images_are_scaled_in_training(scaling, write, output, measured):
    plan_config(write('coco_own'), output, decisions=dict(scaling=scaling))
    cfg = Config.fromfile(output)
    found = [step.scaling_ratio_range for step in cfg.train_pipeline if step.type == 'RandomAffine']
    assert found == ([scaling] if scaling else [])
    assert not any(step.type == 'RandomAffine' for step in cfg.test_pipeline)


@pytest.mark.parametrize('backbone', ['snet49', 'snet146', 'snet535'])
@pytest.mark.parametrize('stride', [8, 16])
def test_channels_fit(backbone, stride, write, output, measured):
    """The planned model is built as it is, and gives a map of that stride."""
    plan_config(write('coco_own'), output, decisions=dict(backbone=backbone, stride=stride))
    model = MODELS.build(Config.fromfile(output).model).eval()
    assert model.extract_feat(torch.zeros(1, 3, 64, 96))[0].shape[2:] == (64 // stride, 96 // stride)


def test_wrong_directory_of_images(write, output, measured, tmp_path):
    root = write('coco_own')
    empty = tmp_path / 'empty'
    empty.mkdir()
    parts = Parts(root / 'annotations/instances_train2017.json', empty)
    with pytest.raises(PlanningError, match='--train-images'):
        plan_config(root, output, parts=parts)


def test_unknown_class(write, output):
    with pytest.raises(PlanningError, match="'bird'"):
        plan_config(write('coco_own'), output, classes=['bird'])


def test_too_few_minutes(write, output, measured):
    """An epoch of 3 steps takes 1.5 seconds beside the start of 10 and a validation of 2."""
    with pytest.raises(PlanningError, match='one epoch.*--minutes 1'):
        plan_config(write('coco_own'), output, minutes=0.2)
    for minutes in (0, -1, float('nan'), float('inf')):
        with pytest.raises(PlanningError, match='minutes'):
            plan_config(write('coco_own'), output, minutes=minutes)


def test_near_copies_alone(output, measured, tmp_path):
    """Frames that are all alike are divided all the same, which is said."""
    root = tmp_path / 'frames'
    photo = draw(np.random.default_rng(0), 'a')
    frames = [photo._replace(name=f'frame{number}') for number in range(4)]
    write_json(coco(frames, [save(frame, root) for frame in frames]), root / 'labels.json')
    (note,) = [note for note in plan_config(root, output).notes if 'near-copies' in note]
    assert 'alike' in note
    assert len(dataset_images(Config.fromfile(output), 'val')) == 1


@pytest.mark.slow
def test_trains(write, output, tmp_path):
    """With real measurements; then some steps and a validation."""
    plan = plan_config(write('coco_own'), output, minutes=3)
    cfg = Config.fromfile(output)
    steps = cfg.train_cfg.max_iters
    assert plan.value('max_iters') == steps and steps * 4 > 10
    cfg.work_dir = str(tmp_path / 'work')
    cfg.log_level = 'ERROR'
    cfg.merge_from_dict({'train_cfg.max_iters': 3, 'train_cfg.val_interval': 3, 'param_scheduler': []})
    runner = RUNNERS.build(cfg)
    before = {name: value.clone() for name, value in runner.model.named_parameters()}
    runner.train()
    assert any((value != before[name]).any() for name, value in runner.model.named_parameters())
    assert list((tmp_path / 'work').glob('best_coco_bbox_mAP*.pth'))
