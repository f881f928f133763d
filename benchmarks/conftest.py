"""What the benchmarks share: the config, the detector, and how a call is measured."""

import logging
from pathlib import Path
from typing import Callable, Iterator, Optional

import memray
import pytest
import torch
from mmengine.registry import init_default_scope
from pytest_benchmark.fixture import BenchmarkFixture

from mmthunder.utils.other_load import describe_other_load

REPO = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the benchmarks."""
    default = str(REPO / 'configs/thundernet/snet49_coco.py')
    parser.addoption('--config', default=default, help='config of the detector')
    parser.addoption('--data-root', help="root of the training images; the config's by default")
    parser.addoption('--threads', type=int, default=1, help='threads of torch')
    parser.addoption('--require-idle', action='store_true', help='do not run beside busy processes')


def pytest_sessionstart(session: pytest.Session) -> None:
    """Warn of other processes that disturb the timings."""
    load = describe_other_load()
    if load and session.config.getoption('--require-idle'):
        raise pytest.UsageError(load)
    if load:
        session.config.get_terminal_writer().line(f'warning: {load}', yellow=True)


@pytest.fixture
def config(request: pytest.FixtureRequest) -> str:
    """Path of the detector's config."""
    return request.config.getoption('config')


@pytest.fixture
def data_root(request: pytest.FixtureRequest) -> Optional[str]:
    """Root of the training images, if it is not the config's."""
    return request.config.getoption('data_root')


@pytest.fixture(autouse=True)
def fresh_state(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fixed seed, number of threads, and no logging of what is below an error."""
    torch.manual_seed(0)
    torch.set_num_threads(request.config.getoption('threads'))
    init_default_scope('mmdet')
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def measure(benchmark: BenchmarkFixture, tmp_path: Path) -> Callable[[Callable[[], object]], None]:
    """A function that times a call, and then records the most memory that it allocates at a time."""

    def measure(call: Callable[[], object]) -> None:
        benchmark(call)
        with memray.Tracker(tmp_path / 'memray.bin'):
            call()
        peak = memray.FileReader(tmp_path / 'memray.bin').metadata.peak_memory
        benchmark.extra_info['peak_mb'] = round(peak / 1e6, 1)

    return measure
