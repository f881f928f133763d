"""tools/analysis_tools/benchmark_growth.py and what it measures memory with."""

import csv
import importlib
import multiprocessing
import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import ModuleType

import cv2
import pytest
import torch

from mmthunder.apis import load_detector


@pytest.fixture
def tool(load_tool) -> ModuleType:
    return load_tool('analysis_tools/benchmark_growth.py')


@pytest.fixture
def process_memory(load_tool) -> ModuleType:
    return load_tool('analysis_tools/process_memory.py')


@pytest.fixture
def config(tiny_cfg, tmp_path) -> str:
    path = tmp_path / 'tiny.py'
    tiny_cfg.dump(path)
    return str(path)


AXES = dict(batch=[1, 4], size=[64], objects=[10, 500])
BASE = [4, 64, 10]


def test_cases(tool):
    """Each case once, though the base is on every axis."""
    assert tool.cases_of(AXES, BASE, ['training', 'inference']) == [
        (mode, *numbers) for mode in ('training', 'inference') for numbers in ((1, 64, 10), (4, 64, 10), (4, 64, 500))
    ]


def test_results(tool, tmp_path):
    results = {case: tool.Growth(case.batch * 10**7, [1.0, 2.0, 3.0]) for case in tool.cases_of(AXES, BASE, tool.MODES)}
    results[tool.Case('training', 4, 64, 500)] = None
    rows = tool.table(results, AXES, BASE, tool.MODES)
    assert rows[0] == [
        'batch',
        'px',
        'objects',
        'training: peak MB',
        'training: ms an image',
        'inference: peak MB',
        'inference: ms an image',
    ]
    time = '2.0 (1.2-2.8)'
    assert rows[1:] == [
        ['1', '64', '10', '10', time, '10', time],
        ['4', '64', '10', '40', time, '40', time],
        ['4', '64', '10', '40', time, '40', time],
        ['4', '64', '10', '40', time, '40', time],
        ['4', '64', '500', 'failed', '-', '40', time],
    ]
    tool.write_csv(results, tmp_path / 'growth.csv')
    with open(tmp_path / 'growth.csv', newline='') as f:
        lines = list(csv.reader(f))
    assert len(lines) == 7 and lines[1] == ['training', '1', '64', '10', '10.0', '2.0', '1.2', '2.8']
    assert lines[3] == ['training', '4', '64', '500']
    tool.plot(results, AXES, BASE, tool.MODES, tmp_path / 'growth.png')
    assert cv2.imread(str(tmp_path / 'growth.png')).std() > 10


@pytest.mark.parametrize(
    'nms', [dict(type='nms', iou_threshold=0.5), dict(type='soft_nms', iou_threshold=0.5, min_score=0.3)]
)
def test_let_pass(tool, tiny_cfg, monkeypatch, nms):
    """As many boxes as objects reach the NMS of each image, but not more than there are."""
    tiny_cfg.model.test_cfg.rcnn.nms = nms
    detector = load_detector(tiny_cfg)
    call = tool.detector_call(detector, [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)] * 2)
    counts = []
    batched_nms = importlib.import_module('mmdet.models.layers.bbox_nms').batched_nms

    def count(boxes, *args):
        counts.append(len(boxes))
        return batched_nms(boxes, *args)

    monkeypatch.setattr('mmdet.models.layers.bbox_nms.batched_nms', count)
    with torch.inference_mode():
        for objects in (1, 25, 100000):
            tool.let_pass(detector, call, objects)
            every = counts[-1]
            counts.clear()
            call()
            assert counts == [min(objects, every)] * 2
            assert detector.roi_head.test_cfg.max_per_img == 100 and detector.roi_head.test_cfg.nms.type == nms['type']


def test_inference(tool, config):
    """In this process, which is not fresh; so only the images' own growth is sure."""
    growth = tool.measure(config, tool.Case('inference', 2, 64, 10), torch.device('cpu'), 1, rounds=2, warmup=1)
    assert len(growth.times) == 2 and min(growth.times) > 0


def test_command(tool, config, tmp_path, capsys):
    """A training case in its process."""
    tool.main(
        [
            config,
            '--batch',
            '2',
            '--sizes',
            '64',
            '--objects',
            '3',
            '--base',
            '2',
            '64',
            '3',
            '--modes',
            'training',
            '--threads',
            '1',
            '--rounds',
            '2',
            '--warmup',
            '1',
            '--csv',
            str(tmp_path / 'growth.csv'),
        ]
    )
    output = capsys.readouterr().out
    assert '[1/1] training, batch 2, 64 px, 3 objects' in output and 'tiny; ' in output
    with open(tmp_path / 'growth.csv', newline='') as f:
        (row,) = csv.DictReader(f)
    # Two images, their features and gradients.
    assert 1 < float(row['peak_mb']) < 500
    assert 0 < float(row['p10_ms_per_image']) <= float(row['median_ms_per_image']) <= float(row['p90_ms_per_image'])
    table = [line for line in output.splitlines() if line.startswith('| ')]
    assert len(table) == 5 and table[2] == table[3] == table[4]


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (BrokenProcessPool('ended abruptly'), 'BrokenProcessPool: ended abruptly'),
        (torch.cuda.OutOfMemoryError('CUDA out of memory'), 'OutOfMemoryError: CUDA out of memory'),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate\nframe"),
            "RuntimeError: DefaultCPUAllocator: can't allocate",
        ),
        (MemoryError(), 'MemoryError: '),
    ],
)
def test_case_too_large(tool, config, monkeypatch, capsys, error, message):
    """The other cases go on."""

    class Pool:
        def __init__(self, *args, **kwargs) -> None:
            pass

        def __enter__(self) -> 'Pool':
            return self

        def __exit__(self, *args) -> None:
            pass

        def submit(self, function, config, case, *args) -> Future:
            future = Future()
            if case.batch == 2:
                future.set_exception(error)
            else:
                future.set_result(tool.Growth(10**7, [1.0]))
            return future

    monkeypatch.setattr(tool, 'ProcessPoolExecutor', Pool)
    tool.main([config, '--batch', '2', '1', '--sizes', '64', '--objects', '3', '--modes', 'training'])
    output = capsys.readouterr().out
    assert f'failed: {message}\n' in output and 'frame' not in output
    assert '| 2 | 64 | 10 | failed | - |' in output and '| 1 | 64 | 10 | 10 | 1.0 (1.0-1.0) |' in output


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--batch', '0'], '--batch: 0: must be at least 1'),
        (['--sizes', '320', '-1'], '--sizes: -1: must be at least 1'),
        (['--base', '1', '2', '0'], '--base: 0: must be at least 1'),
        (['--device', 'nonsense'], '--device: nonsense: '),
        (['--modes', 'testing'], 'invalid choice'),
    ],
)
def test_invalid_arguments(tool, config, capsys, arguments, message):
    with pytest.raises(SystemExit):
        tool.main([config, *arguments])
    error = capsys.readouterr().err.splitlines()[-1]
    assert 'error: ' in error and message in error


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (None, 'other.py'),
        ('model = dict(type="SSD")', 'other.py: has no model.rpn_head'),
    ],
)
def test_invalid_config(tool, tmp_path, capsys, text, message):
    if text:
        (tmp_path / 'other.py').write_text(text)
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path / 'other.py')])
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_peak_memory(repo):
    """Memory that was in use between two looks, in a fresh process, as others may use freed memory again."""
    code = """
import torch
from process_memory import PeakMemory
memory = PeakMemory(torch.device('cpu'))
torch.ones(100, 2**18)  # 105 MB
print(memory.read())
memory.reset()
torch.ones(50, 2**18)
print(memory.read())
"""
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=repo / 'tools/analysis_tools', stdout=subprocess.PIPE, check=True, timeout=300
    )
    first, second = map(int, result.stdout.split())
    assert 95e6 < first < 200e6
    assert 40e6 < second < 95e6


def test_shared_memory_counts_once(process_memory):
    """Half of what a forked process reads is its own share."""
    data = torch.ones(100, 2**18)  # 105 MB
    alone = process_memory.proportional_bytes()
    context = multiprocessing.get_context('fork')
    wait = context.Event()
    process = context.Process(target=wait.wait, daemon=True)
    process.start()
    shares = process_memory.proportional_bytes(), process_memory.proportional_bytes(process.pid)
    wait.set()
    process.join()
    assert data.sum() == data.numel()
    assert shares[0] < alone - 45e6 and shares[1] > 45e6
    assert sum(shares) == pytest.approx(alone, abs=40e6)
