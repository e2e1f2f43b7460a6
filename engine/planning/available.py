"""How much memory is there for models, as far as the daemon can tell without a driver."""

import sys
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_ACCELERATORS: Final = (Path("/dev/nvidiactl"), Path("/dev/kfd"))


def available_bytes() -> int:
    """Main memory that can be had without swapping, page cache that can be dropped included.

    The machine's, or what the control groups of this process leave when that is less.
    Source: proc(5), MemAvailable; kernel Documentation/admin-guide/cgroup-v2.rst, memory.max.
    """
    import psutil  # 3 MB that an idle daemon does without

    return min([int(psutil.virtual_memory().available), *_left_by_cgroups()])


def total_bytes() -> int:
    """Main memory of the machine, whoever uses it now."""
    import psutil

    return int(psutil.virtual_memory().total)


def has_accelerator() -> bool:
    """Whether weights may go to a card, whose memory only the runner can ask for."""
    return sys.platform == "darwin" or any(path.exists() for path in _ACCELERATORS)


def _left_by_cgroups() -> list[int]:
    """What each limit over this process leaves; version 2, and version 1 as containers show it."""
    left = []
    for folder in _own_cgroups():
        limit = _number(folder / "memory.max")
        used = _number(folder / "memory.current")
        if limit is not None and used is not None:
            left.append(max(0, limit - used + _reclaimable(folder)))
    folder = _CGROUPS / "memory"
    limit, used = (
        _number(folder / "memory.limit_in_bytes"),
        _number(folder / "memory.usage_in_bytes"),
    )
    if limit is not None and used is not None:
        left.append(max(0, limit - used + _reclaimable(folder)))
    return left


def _own_cgroups() -> list[Path]:
    """The version 2 control group of this process and those above it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        if line.startswith("0::"):
            own = Path(line.removeprefix("0::"))
            return [_CGROUPS / folder.relative_to("/") for folder in (own, *own.parents)]
    return []


def _reclaimable(folder: Path) -> int:
    """Page cache of a group that its limit can push out."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    fields = dict(line.split(maxsplit=1) for line in lines if " " in line)
    return sum(int(fields.get(name, 0)) for name in ("active_file", "inactive_file"))


def _number(path: Path) -> int | None:
    """None for no such file, or no limit."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isascii() and text.isdigit() else None
