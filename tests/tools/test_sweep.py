import csv
import fcntl
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Callable, List, Optional

import cv2
import pytest
from mmengine.config import Config

from mmthunder.utils.mmdet_distribution import mmdet_distribution

# Does to a run's folder what a training of two epochs does, which may be told to stop after the
# first, to fail, to be killed, or to start after a file is there.
TRAINING = """
import json, os, pathlib, sys, time
work_dir, ap, end = pathlib.Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
if end == 'fail':
    raise ValueError('the data are gone')
if end == 'killed':
    os.kill(os.getpid(), 9)
while end.startswith('after') and not pathlib.Path(end[6:]).exists():
    time.sleep(0.01)
logs = work_dir / f'2026010{len(list(work_dir.glob("2026*"))) + 1}_000000'
(logs / 'vis_data').mkdir(parents=True)
lines = ['2026/01/01 10:00:00 - mmengine - INFO - start', '2026/01/01 10:03:30 - mmengine - INFO - end']
(logs / 'run.log').write_text('\\n'.join(lines))
(logs / 'device').write_text(os.environ.get('CUDA_VISIBLE_DEVICES', 'any'))
scalars = [dict(epoch=1, iter=5, step=5, loss=1.)]
last = 1
if end != 'stop':
    scalars += [dict(epoch=2, iter=10, step=10, loss=1.), {'coco/bbox_mAP': ap, 'coco/bbox_mAP_50': ap + .2, 'step': 2}]
    last = 2
text = '\\n'.join(json.dumps(line) for line in scalars)
(logs / 'vis_data' / 'scalars.json').write_text(text + ('\\n{"epoch": 2, "it' if end == 'stop' else '\\n'))
(work_dir / f'epoch_{last}.pth').touch()
(work_dir / 'last_checkpoint').write_text(f'/elsewhere/epoch_{last}.pth')
"""


@pytest.fixture(scope='module')
def sweep(load_tool) -> ModuleType:
    return load_tool('sweep.py')


@pytest.fixture
def make_runs(sweep: ModuleType, tmp_path: Path) -> Callable[..., list]:
    """A function that makes runs of small configs, of two epochs."""

    def make(names: List[str], seeds: List[int], **train_cfg) -> list:
        runs = []
        for name in names:
            path = tmp_path / f'{name}.py'
            path.write_text(f'train_cfg = {train_cfg or dict(max_epochs=2)}')
            cfg = Config.fromfile(path)
            runs += [sweep.Run(str(path), cfg, {'a.b': 1}, ['a.b=1'], seed, tmp_path / 'out') for seed in seeds]
        return runs

    return make


def finish(run, ap: float = 0.5, end: str = 'well') -> List[str]:
    """Give the command that trains a run in no time."""
    return [sys.executable, '-c', TRAINING, str(run.work_dir), str(ap), end]


def train_at_once(run, ap: float, end: str = 'well') -> None:
    run.work_dir.mkdir(parents=True, exist_ok=True)
    code = os.spawnv(os.P_WAIT, sys.executable, finish(run, ap, end))
    assert code == 0


@pytest.fixture
def fake_training(sweep: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that replaces mim's commands by :data:`TRAINING`."""

    def replace(end_of: Callable[[object], str]) -> None:
        monkeypatch.setattr(
            sweep.Run,
            'next_command',
            lambda run: None if run.status() == 'done' else finish(run, 0.1 * (run.seed + 1), end_of(run)),
        )
        monkeypatch.setattr(sweep.time, 'sleep', lambda seconds: time.sleep(0) if seconds < 1 else None)

    return replace


def arguments(command: Optional[List[str]]) -> Optional[str]:
    return command and ' '.join(command[3:])


def test_commands(make_runs, tmp_path):
    """What comes next depends on the folder alone."""
    (run,) = make_runs(['first'], [3])
    folder, config = tmp_path / 'out/first/seed3', tmp_path / 'first.py'
    options = '--cfg-options a.b=1 randomness.seed=3'
    assert run.work_dir == folder and run.cfg.randomness.seed == 3 and run.cfg.a.b == 1
    assert (run.status(), run.progress()) == ('not started', 0)
    assert arguments(run.next_command()) == f'train {mmdet_distribution()} {config} --work-dir {folder} {options}'

    train_at_once(run, 0.5, 'stop')
    assert (run.status(), run.progress()) == ('unfinished', 0.0)  # the first epoch is not known to have ended
    assert arguments(run.next_command()) == (
        f'train {mmdet_distribution()} {config} --work-dir {folder} --resume {folder}/epoch_1.pth {options}'
    )

    train_at_once(run, 0.5)
    assert (run.status(), run.progress(), run.next_command()) == ('done', 1, None)
    assert run.metrics() == {'AP': 0.5, 'AP50': 0.7}
    assert run.train_minutes() == 7  # of both starts


def test_killed_before_last_validation(make_runs, tmp_path):
    """The checkpoint is tested then, and the test's AP counts."""
    (run,) = make_runs(['first'], [0])
    train_at_once(run, 0.5)
    (scalars,) = run.work_dir.glob('*/vis_data/scalars.json')
    scalars.write_text('\n'.join(scalars.read_text().splitlines()[:-1]))
    assert run.status() == 'unfinished'
    assert arguments(run.next_command()) == (
        f'test {mmdet_distribution()} {tmp_path}/first.py --checkpoint {run.work_dir}/epoch_2.pth '
        f'--work-dir {run.work_dir}/test '
        '--cfg-options a.b=1 randomness.seed=0'
    )
    result = run.work_dir / 'test/20260101_000000/20260101_000000.json'
    result.parent.mkdir(parents=True)
    result.write_text('{"pascal_voc/mAP": 0.')  # by a test that was killed
    assert run.metrics() == {} and arguments(run.next_command()).startswith(f'test {mmdet_distribution()} ')
    result.write_text(json.dumps({'pascal_voc/mAP': 0.4, 'pascal_voc/AP50': 0.45}))
    assert run.metrics() == {'AP': 0.4, 'AP50': 0.45}
    assert run.next_command() is None


def test_iterations(make_runs):
    """mmengine counts validations by epochs, of which training by iterations has none."""
    (run,) = make_runs(['first'], [0], max_iters=20)
    folder = run.work_dir / '20260101_000000/vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('{"iter": 5, "step": 5}\n{"coco/bbox_mAP": 0.1, "step": 0}\n')
    assert (run.progress(), run.status()) == (0.25, 'unfinished')
    (run.work_dir / 'iter_20.pth').touch()
    (run.work_dir / 'last_checkpoint').write_text('iter_20.pth')
    assert (run.progress(), run.metrics()) == (1, {'AP': 0.1})


def test_train(sweep, make_runs, fake_training, monkeypatch, capsys):
    """Runs share the devices; one that fails does not stop the others, and is all that a second call trains."""
    monkeypatch.setattr(sweep.torch.cuda, 'device_count', lambda: 4)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    runs = make_runs(['first', 'second'], [0, 1])
    ends = dict(zip(runs, (f'after {runs[2].work_dir}/epoch_2.pth', 'fail', 'well', 'well')))
    fake_training(ends.get)
    collected = []

    def collect() -> None:
        collected.append([run.status() for run in runs].count('done'))

    failed = sweep.train(runs, ['cuda:3', 'cpu'], collect)
    assert failed == {'first seed 1': f'ValueError: the data are gone (exit status 1); see {runs[1].output}'}
    assert [run.status() for run in runs] == ['done', 'not started', 'done', 'done']
    assert [next(run.work_dir.glob('*/device')).read_text() for run in (runs[0], runs[2])] == ['3', '']
    assert len(collected) == 4 and collected[-1] == 3
    output = capsys.readouterr().out
    assert '0 of 4 runs are done already' in output
    assert '[2/4] first seed 1: FAILED: ValueError: the data are gone' in output
    assert '[4/4] second seed 1: done, AP 0.200; elapsed 0:00:0' in output

    fake_training(lambda run: 'well')
    assert sweep.train(runs, [None], list) == {}
    assert [len(list(run.work_dir.glob('2026*'))) for run in runs] == [1, 1, 1, 1]
    assert '3 of 4 runs are done already' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('device', 'visible', 'expected'), [('cpu', None, ''), ('cuda:3', None, '3'), ('cuda:1', '2,5', '5')]
)
def test_visible_device(sweep, monkeypatch, device, visible, expected):
    """Devices are counted among the visible ones, as torch does."""
    monkeypatch.setattr(sweep.torch.cuda, 'device_count', lambda: 4)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    assert sweep.visible_device(device) == expected
    for missing in ('cuda:4', 'cuda', 'gpu:0'):
        with pytest.raises(ValueError, match=f'{missing}: no such device; give cpu or cuda:N, N less than 4'):
            sweep.visible_device(missing)


def test_ends_without_checkpoint(sweep, make_runs, fake_training):
    (run,) = make_runs(['first'], [0])
    fake_training(lambda run: 'stop')
    (message,) = sweep.train([run], [None], list).values()
    assert 'without the checkpoint epoch_2.pth' in message


def test_error_of_the_last_start(sweep, make_runs, fake_training):
    """A kill says nothing, and what an earlier start said is not its reason."""
    (run,) = make_runs(['first'], [0])
    fake_training(lambda run: 'fail')
    (message,) = sweep.train([run], [None], list).values()
    assert message.startswith('ValueError: the data are gone (exit status 1)')
    fake_training(lambda run: 'killed')
    (message,) = sweep.train([run], [None], list).values()
    assert message.startswith('ended without an error message (exit status -9)')


def test_folder_in_use(sweep, make_runs, fake_training):
    (run,) = make_runs(['first'], [0])
    fake_training(lambda run: 'well')
    run.work_dir.mkdir(parents=True)
    with open(run.output, 'a') as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        (message,) = sweep.train([run], [None], list).values()
    assert f'{run.work_dir} is being trained by another process' in message
    assert sweep.train([run], [None], list) == {}


def test_changed_config(sweep, make_runs, fake_training):
    """A run that was begun with another config is not resumed; one that is done is named."""
    (run,) = make_runs(['first'], [0])
    fake_training(lambda run: 'stop')
    sweep.train([run], [None], list)
    run.cfg.dump(run.dumped_config)
    assert run.changed_keys() == []
    run.cfg.merge_from_dict({'model.type': 'Other', 'train_cfg.max_epochs': 3, 'log_level': 'ERROR'})
    assert run.changed_keys() == ['model', 'train_cfg.max_epochs']
    (message,) = sweep.train([run], [None], list).values()
    assert 'begun with another config (model, train_cfg.max_epochs differ)' in message
    run.dumped_config.write_text('')  # killed while mmengine formatted what it was to write
    assert run.changed_keys() == []


@pytest.mark.parametrize(
    'change',
    [
        {'custom_hooks': [dict(type='EMAHook')]},
        {'auto_scale_lr': dict(base_batch_size=8)},
        {'val_cfg': dict(fp16=True)},
        {'test_dataloader': dict(batch_size=2)},
        {'test_cfg': dict(fp16=True)},
        {'test_evaluator': dict(type='VOCMetric')},
    ],
)
def test_decisive_keys(make_runs, change):
    """What the AP depends on besides model and schedule."""
    (run,) = make_runs(['first'], [0])
    run.work_dir.mkdir(parents=True)
    run.cfg.dump(run.dumped_config)
    run.cfg.merge_from_dict(change)
    assert run.changed_keys() == list(change)


def test_analyse(sweep, make_runs, tmp_path, monkeypatch):
    """Configs that are new or trained anew are analysed; until then nothing is said of them."""
    runs = make_runs(['first', 'second'], [0, 1])
    out = tmp_path / 'out/complexity.csv'
    commands, clock = [], itertools.count(1)

    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, 2 * (next(clock),))

    def script(command, **kwargs) -> subprocess.CompletedProcess:
        commands.append([Path(path).stem for path in command[2 : command.index('--csv')]])
        rows = [f'{name},{len(commands)},1\n' for name in commands[-1]]
        write(out, f'config,total MMACs,total Mparams\n{"".join(rows)}')
        return subprocess.CompletedProcess(command, 0, '')

    def counts() -> list:
        return [row['mmacs'] for row in sweep.collect_rows(runs, out.parent)]

    monkeypatch.setattr(sweep.subprocess, 'run', script)
    write(runs[0].dumped_config, '')  # killed while mmengine formatted it
    write(runs[1].dumped_config, 'model = 1')
    for _ in range(2):
        sweep.analyse('complexity.py', runs, out)
        assert commands == [['first']] and counts() == [1, 1, None, None]
    write(runs[2].dumped_config, 'model = 1')
    sweep.analyse('complexity.py', runs, out)
    assert commands[1:] == [['first', 'second']] and counts() == [2, 2, 2, 2]
    write(runs[1].dumped_config, 'model = 2')
    assert counts() == [None, None, 2, 2]
    sweep.analyse('complexity.py', runs, out)
    assert commands[2:] == [['first', 'second']] and counts() == [3, 3, 3, 3]


def test_close_ends_all_processes(sweep, make_runs, monkeypatch, tmp_path):
    """mim's own subprocesses end with it."""
    child = 'import pathlib, time\nfor i in range(600):\n time.sleep(.05); pathlib.Path("alive").write_text(str(i))'
    parent = f'import subprocess, sys\nsubprocess.run([sys.executable, "-c", {child!r}])'
    monkeypatch.setattr(sweep.Run, 'next_command', lambda run: [sys.executable, '-c', parent])
    monkeypatch.chdir(tmp_path)
    (run,) = make_runs(['first'], [0])
    job = sweep.Job(run, None)
    deadline = time.time() + 30
    while not Path('alive').exists() and time.time() < deadline:
        time.sleep(0.05)
    assert not job.poll()
    job.close()
    count = Path('alive').read_text()
    time.sleep(0.3)
    assert Path('alive').read_text() == count


def test_collect(sweep, make_runs, tmp_path):
    runs = make_runs(['first', 'second', 'third'], [0, 1, 2])
    for run, ap in zip(runs, (0.5, 0.6, 0.7)):
        train_at_once(run, ap)
    train_at_once(runs[3], 0.25)
    train_at_once(runs[4], 0.9, 'stop')
    out = tmp_path / 'out'
    for run in (runs[0], runs[3]):
        run.cfg.dump(run.dumped_config)
    (out / 'latency.csv').write_text('model,median_ms,p10_ms,p90_ms\nfirst,12.34,1,2\nsecond,20,1,2\n')
    (out / 'complexity.csv').write_text('config,px,total MMACs,total Mparams\nfirst,64x64,250.04,1.149\n')
    text = sweep.collect(runs, out)
    assert text.splitlines() == [
        '| config | seeds | AP | AP50 | MMACs | params (M) | latency (ms) | training (min) |',
        '| --- | --- | --- | --- | --- | --- | --- | --- |',
        '| first | 3 | 0.600 ± 0.100 | 0.800 ± 0.100 | 250.0 | 1.15 | 12.3 | 3.5 ± 0.0 |',
        '| second | 1 of 3 | 0.250 | 0.450 | - | - | 20.0 | 3.5 |',
        '| third | 0 of 3 | - | - | - | - | - | - |',
    ]
    assert (out / 'sweep.md').read_text() == f'{text}\n'
    with open(out / 'sweep.csv', newline='') as f:
        rows = list(csv.DictReader(f))
    assert [row['status'] for row in rows] == ['done'] * 4 + ['unfinished'] + ['not started'] * 4
    assert [row['AP'] for row in rows] == ['0.5', '0.6', '0.7', '0.25'] + [''] * 5
    assert (rows[1]['config'], rows[1]['seed'], rows[1]['latency_ms']) == ('first', '1', '12.34')
    assert cv2.imread(str(out / 'sweep.png')).std() > 10


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['missing.py'], 'missing.py'),
        (['first.py', 'first.py'], 'given twice: first seed 0'),
        (['no_schedule.py'], 'give configs of mmengine with a train_cfg'),
        (['no_training.py'], 'give configs of mmengine with a train_cfg'),
        (['first.py', '--devices', 'cuda:99'], '--devices cuda:99: no such device'),
    ],
)
def test_invalid_arguments(sweep, make_runs, tmp_path, monkeypatch, capsys, arguments, message):
    make_runs(['first'], [0])
    (tmp_path / 'no_schedule.py').write_text('model = dict()')
    (tmp_path / 'no_training.py').write_text('train_cfg = None')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        sweep.main([*arguments, '--collect-only'])
    assert message in capsys.readouterr().err


def test_real_run(sweep, tiny_cfg, tmp_path, repo, monkeypatch, capsys):
    """One epoch through mim; the same command again finds it done."""
    monkeypatch.chdir(repo)
    tiny_cfg.train_cfg.update(max_epochs=1, val_interval=1)
    tiny_cfg.pop('work_dir')
    tiny_cfg.log_level = 'INFO'
    config = tmp_path / 'tiny.py'
    tiny_cfg.dump(config)
    arguments = [str(config), '--seeds', '5', '--work-dir', str(tmp_path / 'out')]
    assert sweep.main(arguments) == 0
    first = capsys.readouterr().out
    run_dir = tmp_path / 'out/tiny/seed5'
    (scalars,) = run_dir.glob('*/vis_data/scalars.json')
    with open(tmp_path / 'out/sweep.csv', newline='') as f:
        (row,) = csv.DictReader(f)
    assert row['status'] == 'done' and float(row['latency_ms']) > 0 and float(row['train_minutes']) > 0
    assert float(row['AP50']) == json.loads(scalars.read_text().splitlines()[-1])['coco/bbox_mAP_50']
    assert Config.fromfile(run_dir / 'tiny.py').randomness.seed == 5
    assert '[1/1] tiny seed 5: done, AP' in first

    assert sweep.main([*arguments, '--collect-only']) == 0
    assert sweep.main(arguments) == 0
    output = capsys.readouterr().out
    assert '1 of 1 runs are done already' in output and 'another config' not in output
    assert len(list(run_dir.glob('[0-9]*'))) == 1
