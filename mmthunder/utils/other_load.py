"""How busy other processes keep the processor, which makes timings wrong."""

import os
import time
from pathlib import Path
from typing import Dict, Tuple


def _processor_times() -> Dict[int, Tuple[str, float]]:
    """Return the name and the processor seconds so far of each other process; nothing on systems without /proc."""
    times = {}
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            # pid (name) state ... utime stime ...; a name may have spaces and parentheses.
            name, _, fields = path.read_text().partition('(')[2].rpartition(')')
        except OSError:
            continue  # it has ended
        ticks = sum(map(int, fields.split()[11:13]))
        times[int(path.parent.name)] = name, ticks / os.sysconf('SC_CLK_TCK')
    times.pop(os.getpid(), None)
    return times


def busy_processes(seconds: float = 1.0, least: float = 0.1) -> Dict[str, float]:
    """Find the other processes that use the processor.

    Args:
        seconds (float): How long to look. Defaults to 1.
        least (float): Processes that use less of a core than this are left out. Defaults to 0.1.

    Returns:
        dict[str, float]: Cores that each uses, by name and process id, the busiest first; empty on systems without
        ``/proc``.
    """
    start, before = time.perf_counter(), _processor_times()
    time.sleep(seconds)
    elapsed, after = time.perf_counter() - start, _processor_times()
    cores = {pid: (after[pid][1] - before[pid][1]) / elapsed for pid in before.keys() & after.keys()}
    busiest = sorted((pid for pid, used in cores.items() if used > least), key=cores.get, reverse=True)
    return {f'{after[pid][0]} (pid {pid})': cores[pid] for pid in busiest}


def describe_other_load() -> str:
    """Say in one line which processes disturb a timing; empty if none uses more than a tenth of a core."""
    busy = busy_processes()
    if not busy:
        return ''
    names = ', '.join(f'{name} {used:.1f}' for name, used in busy.items())
    return (
        f'other processes use {sum(busy.values()):.1f} of {os.cpu_count()} cores ({names}); timings are too long then, '
        'and those of several threads say nothing: stop them first'
    )
