"""Limits that the kernel enforces are those that olm sees, and its kills are told from others."""

import json
import subprocess
import sys
from pathlib import Path

from support.cgroup import Cgroup, cgroup

MIB = 1 << 20
LIMITS = """
import json
from olmkit.engine.planning.available import available_bytes, total_bytes
from olmkit.engine.cgroups import count_oom_kills, read_limits
from olmkit.engine.runner.decoding.threads import default_threads
found = read_limits()
print(json.dumps({
    "limit": found.memory and found.memory.limit_bytes,
    "used": found.memory and found.memory.used_bytes,
    "folder": found.memory and str(found.memory.folder),
    "available": available_bytes(), "total": total_bytes(),
    "cores": found.cpu and found.cpu.cores, "threads": default_threads(),
    "kills": count_oom_kills(),
}))
"""


def seen_in(group: Cgroup) -> dict[str, object]:
    command = group.running([sys.executable, "-c", LIMITS])
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert isinstance(found, dict)
    return found


def test_a_limit_of_the_own_group_is_seen() -> None:
    with cgroup("memory") as group:
        group.limit_memory(220 * MIB)
        seen = seen_in(group)
        assert (seen["limit"], seen["folder"]) == (220 * MIB, str(group.folder))
        assert isinstance(seen["used"], int)
        assert 0 < seen["used"] < 220 * MIB
        assert isinstance(seen["available"], int)
        assert 0 < seen["available"] < 220 * MIB
        assert seen["total"] == 220 * MIB


def test_a_limit_of_a_group_above_is_seen() -> None:
    with cgroup("memory") as group, group.nested() as inner:
        group.limit_memory(220 * MIB)
        seen = seen_in(inner)
        assert seen["limit"] == 220 * MIB
        assert isinstance(seen["available"], int)
        assert seen["available"] < 220 * MIB


def test_a_quota_of_a_group_above_is_seen() -> None:
    with cgroup("cpu") as group, group.nested() as inner:
        group.limit_cpu(1.5)
        seen = seen_in(inner)
        assert (seen["cores"], seen["threads"]) == (1.5, 1)


def test_the_kernels_kills_in_the_group_are_counted() -> None:
    with cgroup("memory") as group:
        group.limit_memory(100 * MIB)
        assert seen_in(group)["kills"] == 0
        greedy = group.running([sys.executable, "-c", "x = bytes(range(256)) * (1 << 20)"])
        assert subprocess.run(greedy, check=False).returncode == -9
        assert seen_in(group)["kills"] == 1


def test_no_group_is_left_behind() -> None:
    with cgroup("memory") as group:
        folder = group.folder
    assert not Path(folder).exists()
