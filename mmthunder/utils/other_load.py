"""How busy other processes keep the processor, which makes timings wrong."""

import os
import time
from contextlib import suppress
from typing import Dict

import psutil

SPOILED = 'timings are too long then, and those of several threads say nothing: stop them first'


def busy_processes(seconds: float = 1.0) -> Dict[str, float]:
    """Find the other processes that use more than a tenth of a core.

    Args:
        seconds (float): How long to look. Defaults to 1.

    Returns:
        dict[str, float]: Cores that each uses, by name and process id, the busiest first.
    """
    processes = [process for process in psutil.process_iter() if process.pid != os.getpid()]
    for process in processes:
        with suppress(psutil.Error):  # it has ended, or may not be looked at
            process.cpu_percent()  # the next call counts from here
    time.sleep(seconds)
    busy = []
    for process in processes:
        with suppress(psutil.Error):
            busy.append((process.cpu_percent() / 100, f'{process.name()} (pid {process.pid})'))
    return {name: used for used, name in sorted(busy, reverse=True) if used > 0.1}


def describe_other_load(consequence: str = SPOILED) -> str:
    """Say in one line which processes disturb a timing; empty if none uses more than a tenth of a core.

    Args:
        consequence (str): What that means for the user, the end of the line. Defaults to what it means for a benchmark.

    Returns:
        str: The line.
    """
    busy = busy_processes()
    if not busy:
        return ''
    names = ', '.join(f'{name} {used:.1f}' for name, used in busy.items())
    return f'other processes use {sum(busy.values()):.1f} of {os.cpu_count()} cores ({names}); {consequence}'
