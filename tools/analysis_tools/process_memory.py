"""Tells how much memory a case takes: on the CPU from Linux's /proc, on CUDA from torch."""

import re
from pathlib import Path
from typing import Union

import torch


def read_proc(name: str, field: str, pid: Union[int, str] = 'self') -> int:
    """Read a memory field of a process.

    Args:
        name (str): File in the process's folder of /proc, as ``'status'``.
        field (str): Field, as ``'VmRSS'``.
        pid (int or str): The process. Defaults to ``'self'``.

    Returns:
        int: Bytes.
    """
    text = Path(f'/proc/{pid}/{name}').read_text()
    return int(re.search(rf'^{field}:\s+(\d+) kB$', text, re.MULTILINE)[1]) * 1024


def proportional_bytes(pid: Union[int, str] = 'self') -> int:
    """Give a process's memory, in which a page that n processes share counts as 1/n."""
    return read_proc('smaps_rollup', 'Pss', pid)


class PeakMemory:
    """The largest amount of memory in use at a time, beyond what was in use when this was made.

    On the CPU it is the resident memory of the process, which must be a fresh one: memory that was freed
    before, but not given back to the system, would be used again unseen.

    Args:
        device (torch.device): The device that computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == 'cuda'
        self.device = device
        self.before = torch.cuda.memory_allocated(device) if self.cuda else read_proc('status', 'VmRSS')

    def reset(self) -> None:
        """Forget the peaks until now."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            Path('/proc/self/clear_refs').write_text('5')

    def read(self) -> int:
        """Give the peak since the last :meth:`reset`, in bytes."""
        if self.cuda:
            return torch.cuda.max_memory_allocated(self.device) - self.before
        return read_proc('status', 'VmHWM') - self.before
