"""What the control groups of a process allow it: memory, swap space and processor time, both
versions.

A limit may stand at the group of the process or at any group above it, and a version 1 and a
version 2 hierarchy may be mounted side by side, each controller in one of them. Where a hierarchy
is mounted, and which part of it, only mountinfo knows: a container sees its own group at the
mount point, or the whole tree. Linux only; elsewhere there are no limits of this kind.

Source: cgroups(7); proc(5), mountinfo; kernel Documentation/admin-guide/cgroup-v2.rst and
cgroup-v1/memory.rst, Documentation/scheduler/sched-bwc.rst.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OWN_PROCESS: Final = Path("/proc/self")
_VERSION_1_UNLIMITED_BYTES: Final = 1 << 60
"""Version 1 writes "no limit" as the greatest multiple of the page size that a long holds."""
_MAX_FILE_BYTES: Final = 1 << 20
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """One group's limit of main memory."""

    limit_bytes: int
    used_bytes: int
    """By all processes of the group and of those below it, page cache included."""
    left_bytes: int
    """What the processes can still have: page cache that the limit pushes out counts as free."""
    folder: Path
    """The group, in the mounted hierarchy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuQuota:
    """One group's limit of processor time."""

    cores: float
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """The tightest limits over a process; None: no group limits it."""

    memory: MemoryLimit | None
    cpu: CpuQuota | None
    swap_left_bytes: int | None
    """What the processes of a group may still put into swap space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    folder: Path
    is_v2: bool
    is_own: bool


def read_limits(process: Path = OWN_PROCESS) -> CgroupLimits:
    """The limits of the process whose folder in /proc is `process`.

    Of memory limits the one that leaves least counts, of quotas the smallest.
    """
    memory = [limit for group in _groups(process, "memory") if (limit := _memory_limit(group))]
    quotas = [quota for group in _groups(process, "cpu") if (quota := _cpu_quota(group))]
    swap = [left for group in _groups(process, "memory") if (left := _swap_left(group)) is not None]
    return CgroupLimits(
        memory=min(memory, key=lambda limit: limit.left_bytes, default=None),
        cpu=min(quotas, key=lambda quota: quota.cores, default=None),
        swap_left_bytes=min(swap, default=None),
    )


def count_oom_kills(process: Path = OWN_PROCESS) -> int | None:
    """How many processes of the group of `process` the kernel has killed for lack of memory.

    None where the group does not say: the root of version 2, kernels before 4.13.
    """
    for group in _groups(process, "memory"):
        if group.is_own:
            name = "memory.events" if group.is_v2 else "memory.oom_control"
            kills = _fields(group.folder / name).get("oom_kill")
            if kills is not None:
                return kills
    return None


def _memory_limit(group: _Group) -> MemoryLimit | None:
    fields = _fields(group.folder / "memory.stat")
    if group.is_v2:
        limits = [_number(group.folder / "memory.max"), _number(group.folder / "memory.high")]
        used = _number(group.folder / "memory.current")
        cache = fields.get("active_file", 0) + fields.get("inactive_file", 0)
    else:
        if not group.is_own and _number(group.folder / "memory.use_hierarchy") == 0:
            return None
        # The second holds for the group, wherever above it stands, in sight or not.
        limits = [
            _number(group.folder / "memory.limit_in_bytes"),
            fields.get("hierarchical_memory_limit"),
        ]
        used = _number(group.folder / "memory.usage_in_bytes")
        cache = fields.get("total_active_file", 0) + fields.get("total_inactive_file", 0)
    real = [one for one in limits if one is not None and one < _VERSION_1_UNLIMITED_BYTES]
    if not real or used is None:
        return None
    limit = min(real)
    left = min(limit, max(0, limit - used + cache))
    return MemoryLimit(limit_bytes=limit, used_bytes=used, left_bytes=left, folder=group.folder)


def _swap_left(group: _Group) -> int | None:
    """Version 1 limits main memory and swap space together: what the one leaves over the other."""
    if group.is_v2:
        limit = _number(group.folder / "memory.swap.max")
        used = _number(group.folder / "memory.swap.current")
        return None if limit is None or used is None else max(0, limit - used)
    memory = _memory_limit(group)
    both = _number(group.folder / "memory.memsw.limit_in_bytes")
    if memory is None or both is None or both >= _VERSION_1_UNLIMITED_BYTES:
        return None
    used = (_number(group.folder / "memory.memsw.usage_in_bytes") or 0) - memory.used_bytes
    return max(0, both - memory.limit_bytes - max(0, used))


def _cpu_quota(group: _Group) -> CpuQuota | None:
    if group.is_v2:
        quota, _, period = (_text(group.folder / "cpu.max") or "").partition(" ")
    else:
        quota = _text(group.folder / "cpu.cfs_quota_us") or ""
        period = _text(group.folder / "cpu.cfs_period_us") or ""
    if not _is_number(quota) or not _is_number(period):
        return None  # `max` and `-1`: no quota
    return CpuQuota(cores=int(quota) / int(period), folder=group.folder) if int(period) else None


def _groups(process: Path, controller: str) -> Iterator[_Group]:
    """The group of the process in each hierarchy that may hold the controller, and those above."""
    try:
        lines = (process / "cgroup").read_text("utf-8", "surrogateescape").split("\n")
        mounts = list(_mounts(process))
    except OSError:
        return
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        if not path.startswith("/"):
            continue
        is_v2 = not controllers
        if not is_v2 and controller not in controllers.split(","):
            continue
        fitting = [
            (root, point)
            for root, point, of in mounts
            if (of is None if is_v2 else of is not None and controller in of)
        ]
        yield from _way_up(path, fitting, is_v2=is_v2)


def _way_up(path: str, mounts: list[tuple[Path, Path]], *, is_v2: bool) -> Iterator[_Group]:
    """The folders of the group `path` and of those above it, at each of the (root, mount point).

    Where no mount shows the group under the name that the process knows (a bind mount from
    outside of the container), what is mounted is taken for the group itself.
    """
    own = Path(path)
    is_in_sight = ".." not in own.parts  # it leads out of the process's cgroup namespace
    seen = [(root, point) for root, point in mounts if is_in_sight and own.is_relative_to(root)]
    for root, point in seen:
        below = own.relative_to(root)
        for folder in (below, *below.parents):
            yield _Group(folder=point / folder, is_v2=is_v2, is_own=folder == below)
    if not seen:
        for _, point in mounts:
            yield _Group(folder=point, is_v2=is_v2, is_own=True)


def _mounts(process: Path) -> Iterator[tuple[Path, Path, frozenset[str] | None]]:
    """Root, mount point and controllers (None: version 2) of every mounted hierarchy."""
    text = (process / "mountinfo").read_text("utf-8", "surrogateescape")
    for line in text.split("\n"):
        before, _, after = line.partition(" - ")
        places, kind = before.split(), after.split()
        if len(places) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = frozenset(kind[2].split(",")) if kind[0] == "cgroup" else None
        yield _path(places[3]), _path(places[4]), controllers


def _path(escaped: str) -> Path:
    """Mountinfo writes blanks, tabs, newlines and backslashes in octal."""
    return Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), escaped))


def _fields(path: Path) -> dict[str, int]:
    """A file of lines `name number`; empty when there is none."""
    words = (line.split() for line in (_text(path) or "").splitlines())
    return {one[0]: int(one[1]) for one in words if len(one) == 2 and _is_number(one[1])}


def _number(path: Path) -> int | None:
    """None for no such file, or a word that is no number: `max`."""
    text = _text(path)
    return int(text) if text is not None and _is_number(text) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode("ascii").strip()
    except (OSError, ValueError):
        return None
