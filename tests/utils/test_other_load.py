import subprocess
import sys

from mmthunder.utils.other_load import busy_processes, describe_other_load


def test_busy_processes():
    """A process that computes, not one that sleeps, and not this one."""
    codes = 'while True: pass', 'import time; time.sleep(600)'
    busy, idle = processes = [subprocess.Popen([sys.executable, '-c', code]) for code in codes]
    try:
        for _ in range(50):  # as often as it takes where the processor is busy
            found = busy_processes(0.5)
            if any(f'(pid {busy.pid})' in name for name in found):
                break
        message = describe_other_load()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    (used,) = (cores for name, cores in found.items() if f'(pid {busy.pid})' in name)
    assert 0.1 < used < 1.3 and list(found.values()) == sorted(found.values(), reverse=True)
    assert not any(f'(pid {idle.pid})' in name for name in found)
    assert f'(pid {busy.pid})' in message and 'cores' in message and '\n' not in message
