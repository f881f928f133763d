"""Times training steps of a config in a process of its own, and keeps the numbers in a file."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict

from mmengine.config import Config

from mmthunder.planning.quiet import quiet
from mmthunder.planning.timing import Timing
from mmthunder.utils.atomic_write import atomic_write

from .comparison_error import ComparisonError

# What times depend on in a config; not the seed.
TIMED_KEYS = ('model', 'train_dataloader', 'val_dataloader', 'optim_wrapper')
# The result is the last line, since libraries print as well.
SCRIPT = """
import json, sys
from dataclasses import asdict
from mmengine.config import Config
from mmthunder.planning.quiet import quiet
from mmthunder.planning.timing import time_training
with quiet():
    cfg = Config.fromfile(sys.argv[1])
print('\\n' + json.dumps(asdict(time_training(cfg, float(sys.argv[2])))))
"""


def read_timings(path: Path) -> Dict[str, Dict[str, Any]]:
    """Read the timings in a file; empty if there is none.

    Args:
        path (Path): The JSON file.

    Returns:
        dict[str, dict]: Fields of :class:`~mmthunder.planning.timing.Timing` and the settings, by detector.

    Raises:
        ComparisonError: If the file has something else.
    """
    if not path.exists():
        return {}
    try:
        timings = json.loads(path.read_text())
        for entry in timings.values():
            Timing(entry['start'], entry['step'], entry['val'])
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise ComparisonError(
            f'{path}: not a file of timings ({error!r}); remove it to time the detectors anew'
        ) from None
    return timings


def time_config(config: Path, threads: int, seconds: float) -> Timing:
    """Time a config.

    Args:
        config (Path): An iteration-based config.
        threads (int): Threads of the training process.
        seconds (float): Time for the steps.

    Returns:
        Timing: What was measured.

    Raises:
        ComparisonError: If the training fails.
    """
    command = [sys.executable, '-c', SCRIPT, str(config), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, env=thread_environment(threads))
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f'exit status {done.returncode}'])[-1]
        raise ComparisonError(f'{config}: training failed while it was timed: {reason}')
    return Timing(**json.loads(done.stdout.strip().splitlines()[-1]))


def thread_environment(threads: int) -> Dict[str, str]:
    """Return the environment of a training with so many threads."""
    return dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))


def config_digest(config: Path) -> str:
    """Return a hash of what the timing of a config depends on."""
    with quiet():
        cfg = Config.fromfile(config, import_custom_modules=False).to_dict()
    text = json.dumps({key: cfg.get(key) for key in TIMED_KEYS}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def cached_timing(
    path: Path, name: str, settings: Dict[str, Any], config: Path, threads: int, seconds: float = 20
) -> Timing:
    """Return the timing of a detector, from the file or measured now.

    Args:
        path (Path): The JSON file; a new measurement is added to it.
        name (str): The detector.
        settings (dict): What the timing depends on beside the config; if the file has others, the detector is timed
            anew. Those that an older file lacks count as equal.
        config (Path): Its config.
        threads (int): Threads of the training process.
        seconds (float): Time for the steps. Defaults to 20.

    Returns:
        Timing: The timing.

    Raises:
        ComparisonError: If the file has something else, or the training fails.
    """
    timings = read_timings(path)
    settings = dict(settings, threads=threads, config=config_digest(config))
    entry = timings.get(name)
    if entry is None or any(entry.get(key, value) != value for key, value in settings.items()):
        entry = dict(asdict(time_config(config, threads, seconds)), **settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps({**read_timings(path), name: entry}, indent=1).encode('utf-8'))
    return Timing(entry['start'], entry['step'], entry['val'])
