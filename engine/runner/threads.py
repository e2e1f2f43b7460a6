"""How many threads a decode step gets by default: the physical cores this process may use.

A thread more than there are cores to run it costs far more than it gives (llama.cpp's threads
spin while they wait for each other), so affinity and cgroup quotas count, and two hardware
threads of a core count once. Linux only; elsewhere Python's own count.
"""

import os
from collections.abc import Callable
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_CGROUPS = Path("/sys/fs/cgroup")


def default_threads() -> int:
    """At least 1."""
    cores = _physical_cores()
    quota = _cgroup_quota_cores()
    return max(1, cores if quota is None else min(cores, int(quota)))


def _physical_cores() -> int:
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:
        return os.cpu_count() or 1
    siblings = set()
    for cpu in allowed:
        try:
            siblings.add((_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            siblings.add(str(cpu))
    return len(siblings)


def _cgroup_quota_cores() -> float | None:
    """The tightest CPU quota over this process, in cores; None for none."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            quotas += _quotas_above(_CGROUPS, path, _quota_v2)
        elif "cpu" in controllers.split(","):
            quotas += _quotas_above(_CGROUPS / "cpu", path, _quota_v1)
    return min(quotas, default=None)


def _quotas_above(root: Path, path: str, read: Callable[[Path], float | None]) -> list[float]:
    """Quotas of a group and of those around it."""
    group = root / path.lstrip("/")
    groups = [group, *group.parents]
    quotas = (read(one) for one in groups if one.is_relative_to(root))
    return [quota for quota in quotas if quota is not None]


def _quota_v2(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(group: Path) -> float | None:
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
