"""How many threads a decode step gets by default: the physical cores that this process may use.

A thread more than there are cores to run it costs far more than it gives (llama.cpp's threads
spin while they wait for each other), so affinity and cgroup quotas count, and two hardware
threads of a core count once. Linux only; elsewhere Python's own count.
"""

import os
from pathlib import Path
from typing import Final

_CPUS: Final = Path("/sys/devices/system/cpu")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN_CGROUPS: Final = Path("/proc/self/cgroup")


def default_threads() -> int:
    """The default number of threads, at least 1."""
    cores = physical_cores(_CPUS)
    quota = quota_cores(_OWN_CGROUPS, _CGROUPS)
    return max(1, cores if quota is None else min(cores, int(quota)))


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


def quota_cores(own_cgroups: Path, cgroups: Path) -> float | None:
    """The tightest CPU quota over a process, in cores; None for none.

    `own_cgroups` is its /proc/…/cgroup, `cgroups` where the hierarchies are mounted.
    Source: kernel Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst.
    """
    try:
        lines = own_cgroups.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        is_v2 = not controllers
        if is_v2 or "cpu" in controllers.split(","):
            root = cgroups if is_v2 else cgroups / "cpu"
            group = root / path.lstrip("/")
            around = [one for one in (group, *group.parents) if one.is_relative_to(root)]
            quotas += [_quota(one, is_v2=is_v2) for one in around]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(group: Path, *, is_v2: bool) -> float | None:
    """The quota of one control group, in cores; None for none."""
    try:
        if is_v2:
            quota, period = map(int, (group / "cpu.max").read_text("ascii").split())
        else:
            quota = int((group / "cpu.cfs_quota_us").read_text("ascii"))
            period = int((group / "cpu.cfs_period_us").read_text("ascii"))
    except (OSError, ValueError):
        return None  # `max` is no number, and so no quota
    return quota / period if quota > 0 and period > 0 else None
