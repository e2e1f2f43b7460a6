"""How many threads a decode step gets by default: the physical cores that this process may use.

A thread more than there are cores to run it costs far more than it gives (llama.cpp's threads
spin while they wait for each other), so affinity and cgroup quotas count, and two hardware
threads of a core count once. Linux only; elsewhere Python's own count.
"""

import os
from pathlib import Path
from typing import Final

from olmkit.engine.cgroups import read_limits

_CPUS: Final = Path("/sys/devices/system/cpu")


def default_threads() -> int:
    """The default number of threads, at least 1."""
    cores = physical_cores(_CPUS)
    quota = read_limits().cpu
    return max(1, cores if quota is None else min(cores, int(quota.cores)))


def physical_cores(cpus: Path) -> int:
    """Cores behind the CPUs that this process may run on; `cpus` is sysfs's folder of them."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = set()
    for cpu in os.sched_getaffinity(0):
        try:
            siblings = (cpus / f"cpu{cpu}/topology/thread_siblings_list").read_text("ascii")
        except (OSError, ValueError):
            siblings = str(cpu)
        cores.add(siblings.strip())
    return len(cores)
