import csv
import fcntl
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

# Does to a run's directory what a training of two epochs does, which may be told to stop after the
# first, to fail, to be killed, or to start after a file is there.
TRAINING = """
import json, os, pathlib, sys, time
work_dir, ap, end = pathlib.Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
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
            runs += [sweep.Run(str(path), ['a.b=1'], seed, tmp_path / 'out') for seed in seeds]
        return runs

    return make


def finish(run, ap: float = 0.5, end: str = 'well', step: str = 'train') -> List[str]:
    """Return a command that trains a run in no time; its fourth word is mim's subcommand, as it is in mim's."""
    return [sys.executable, '-c', TRAINING, step, str(run.work_dir), str(ap), end]


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

    return replace


def arguments(command: Optional[List[str]]) -> Optional[str]:
    return command and ' '.join(command[3:])


def test_commands(make_runs, tmp_path):
    """What comes next depends on the directory alone."""
    (run,) = make_runs(['first'], [3])
    work_dir, config = tmp_path / 'out/first/seed3', tmp_path / 'first.py'
    options = '--cfg-options a.b=1 randomness.seed=3'
    assert run.work_dir == work_dir and run.cfg.randomness.seed == 3 and run.cfg.a.b == 1
    assert run.status() == 'not started'
    assert arguments(run.next_command()) == f'train {mmdet_distribution()} {config} --work-dir {work_dir} {options}'

    train_at_once(run, 0.5, 'stop')
    assert run.status() == 'unfinished'
    assert arguments(run.next_command()) == (
        f'train {mmdet_distribution()} {config} --work-dir {work_dir} --resume {work_dir}/epoch_1.pth {options}'
    )

    train_at_once(run, 0.5)
    assert (run.status(), run.next_command()) == ('done', None)
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
    logs = run.work_dir / '20260101_000000/vis_data'
    logs.mkdir(parents=True)
    (logs / 'scalars.json').write_text('{"iter": 5, "step": 5}\n{"coco/bbox_mAP": 0.1, "step": 0}\n')
    assert run.status() == 'unfinished'
    (run.work_dir / 'iter_20.pth').touch()
    (run.work_dir / 'last_checkpoint').write_text('iter_20.pth')
    assert run.metrics() == {'AP': 0.1}


def test_train(sweep, make_runs, fake_training, monkeypatch, capsys):
    """Runs share the devices; one that fails does not stop the others, and is all that a second call trains."""
    runs = make_runs(['first', 'second'], [0, 1])
    ends = dict(zip(runs, (f'after {runs[2].work_dir}/epoch_2.pth', 'fail', 'well', 'well')))
    fake_training(ends.get)
    collected = []

    def collect() -> None:
        collected.append([run.status() for run in runs].count('done'))

    failed = sweep.train(runs, ['3', ''], collect)
    assert failed == {runs[1]: f'ValueError: the data are gone (exit status 1); see {runs[1].output}'}
    assert [run.status() for run in runs] == ['done', 'unfinished', 'done', 'done']
    assert [next(run.work_dir.glob('*/device')).read_text() for run in (runs[0], runs[2])] == ['3', '']
    assert len(collected) == 4 and collected[-1] == 3
    output = capsys.readouterr().out
    assert '0 of 4 runs are done already' in output
    assert 'first seed 1: FAILED: ValueError: the data are gone' in output
    assert 'second seed 1: done, AP 0.200' in output

    fake_training(lambda run: 'well')
    assert sweep.train(runs, [None], list) == {}
    assert [len(list(run.work_dir.glob('2026*'))) for run in runs] == [1, 1, 1, 1]
    assert '3 of 4 runs are done already' in capsys.readouterr().out


@pytest.mark.parametrize(('visible', 'expected'), [(None, ['0', '1']), ('2,5', ['2', '5'])])
def test_visible_devices(sweep, monkeypatch, visible, expected):
    """Devices are counted among the visible ones, as torch does."""
    monkeypatch.setattr(sweep.torch.cuda, 'device_count', lambda: 2)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    assert sweep.visible_devices() == {'cpu': '', 'cuda:0': expected[0], 'cuda:1': expected[1]}


def test_ends_without_checkpoint(sweep, make_runs, fake_training):
    (run,) = make_runs(['first'], [0])
    fake_training(lambda run: 'stop')
    (message,) = sweep.train([run], [None], list).values()
    assert 'mim train ended without epoch_2.pth' in message


def test_error_of_the_last_start(sweep, make_runs, fake_training):
    """A kill says nothing, and what an earlier start said is not its reason."""
    (run,) = make_runs(['first'], [0])
    fake_training(lambda run: 'fail')
    (message,) = sweep.train([run], [None], list).values()
    assert message.startswith('ValueError: the data are gone (exit status 1)')
    fake_training(lambda run: 'killed')
    (message,) = sweep.train([run], [None], list).values()
    assert message.startswith('ended without an error message (exit status -9)')


def test_directory_in_use(sweep, make_runs, fake_training):
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
    """Configs are measured again when one is not in the table."""
    runs = make_runs(['first', 'second'], [0, 1])
    commands = []

    def script(command) -> None:
        commands.append([Path(path).stem for path in command[3 : command.index('--csv')]])
        rows = [f'{name},{len(commands)},1\n' for name in commands[-1]]
        (tmp_path / 'complexity.csv').write_text(f'config,total MMACs,total Mparams\n{"".join(rows)}')

    monkeypatch.setattr(sweep.subprocess, 'run', script)
    for run, text in zip(runs, ('', 'model = 1')):  # the first was killed while mmengine formatted its config
        run.work_dir.mkdir(parents=True)
        run.dumped_config.write_text(text)
    for _ in range(2):
        sweep.analyse('complexity', runs, tmp_path)
        assert commands == [['first']]
    runs[2].work_dir.mkdir(parents=True)
    runs[2].dumped_config.write_text('model = 1')
    sweep.analyse('complexity', runs, tmp_path)
    assert commands[1:] == [['first', 'second']]


def test_interrupted(repo, make_runs, tmp_path):
    """All processes of all runs end with the sweep, also those that mim has started; the other runs do not begin."""
    child = 'import pathlib, time\nfor i in range(600):\n time.sleep(.05); pathlib.Path("alive").write_text(str(i))'
    (tmp_path / 'mim.py').write_text(f'import subprocess, sys\nsubprocess.run([sys.executable, "-c", {child!r}])')
    runs = make_runs(['first', 'second'], [0])
    process = subprocess.Popen(
        [sys.executable, str(repo / 'tools/sweep.py'), *(run.path for run in runs), '--work-dir', 'out'],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=f'{tmp_path}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'),
        stdout=subprocess.PIPE,
        text=True,
    )
    alive, deadline = tmp_path / 'alive', time.time() + 60
    while not alive.exists() and time.time() < deadline:
        time.sleep(0.05)
    process.terminate()
    assert 'interrupted; the same command resumes' in process.communicate(timeout=30)[0]
    assert process.returncode == 1 and not runs[1].work_dir.exists()
    count = alive.read_text()
    time.sleep(0.3)
    assert alive.read_text() == count


def test_collect(sweep, make_runs, table_cells, tmp_path):
    runs = make_runs(['first', 'second', 'third'], [0, 1, 2])
    for run, ap in zip(runs, (0.5, 0.6, 0.7)):
        train_at_once(run, ap)
    train_at_once(runs[3], 0.25)
    train_at_once(runs[4], 0.9, 'stop')
    out = tmp_path / 'out'
    (out / 'benchmark_latency.csv').write_text('model,median_ms,p10_ms,p90_ms\nfirst,12.34,1,2\nsecond,20,1,2\n')
    (out / 'complexity.csv').write_text('config,px,total MMACs,total Mparams\nfirst,64x64,250.04,1.149\n')
    text = sweep.collect(runs, out)
    assert table_cells(text) == [
        ['config', 'seeds', 'AP', 'AP50', 'training (min)', 'MMACs', 'params (M)', 'latency (ms)'],
        ['first', '3', '0.600 ± 0.100', '0.800 ± 0.100', '3.5 ± 0.0', '250.0', '1.15', '12.3'],
        ['second', '1 of 3', '0.250', '0.450', '3.5', '-', '-', '20.0'],
        ['third', '0 of 3', '-', '-', '-', '-', '-', '-'],
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
        (['first.py', '--devices', 'cuda:99'], 'cuda:99'),
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


@pytest.mark.slow
def test_real_run(sweep, tiny_cfg, tmp_path, repo, monkeypatch, capsys):
    """One epoch through mim; the same command again finds it done."""
    monkeypatch.chdir(repo)
    tiny_cfg.train_cfg.update(max_epochs=1, val_interval=1)
    tiny_cfg.pop('work_dir')
    tiny_cfg.log_level = 'INFO'
    config = tmp_path / 'tiny.py'
    tiny_cfg.dump(config)
    arguments = [str(config), '--seeds', '5', '--work-dir', str(tmp_path / 'out')]
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/complexity.csv').write_text('config,total MMACs,total Mparams\ntiny,1,1\n')  # of an earlier config
    assert sweep.main(arguments) == 0
    first = capsys.readouterr().out
    run_dir = tmp_path / 'out/tiny/seed5'
    (scalars,) = run_dir.glob('*/vis_data/scalars.json')
    with open(tmp_path / 'out/sweep.csv', newline='') as f:
        (row,) = csv.DictReader(f)
    assert row['status'] == 'done' and float(row['latency_ms']) > 0 and float(row['train_minutes']) > 0
    assert float(row['mmacs']) != 1
    assert float(row['AP50']) == json.loads(scalars.read_text().splitlines()[-1])['coco/bbox_mAP_50']
    assert Config.fromfile(run_dir / 'tiny.py').randomness.seed == 5
    assert 'tiny seed 5: done, AP' in first

    assert sweep.main([*arguments, '--collect-only']) == 0
    assert sweep.main(arguments) == 0
    output = capsys.readouterr().out
    assert '1 of 1 runs are done already' in output and 'another config' not in output
    assert len(list(run_dir.glob('[0-9]*'))) == 1
