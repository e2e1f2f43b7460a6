"""How much memory is there for models, as far as the daemon can tell without a driver."""

import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Final

from olmkit.engine.cgroups import read_limits

PROC: Final = Path("/proc")
_MOST_BYTES: Final = 1 << 16
_ACCELERATORS: Final = (Path("/dev/nvidiactl"), Path("/dev/kfd"))
_RENDER_NODES: Final = Path("/dev/dri")
_LOOKED_AGAIN_S: Final = 5


def available_bytes() -> int:
    """Main memory that can be had without swapping, page cache that can be dropped included.

    The machine's, or what the control groups of this process leave when that is less.
    Source: proc(5), MemAvailable.
    """
    import psutil  # 3 MB that an idle daemon does without

    free = int(psutil.virtual_memory().available)
    limit = read_limits().memory
    return free if limit is None else min(free, limit.left_bytes)


def available_swap_bytes(proc: Path = PROC) -> int:
    """Free swap space that this process may use; 0 where the system does not say: macOS makes
    swap files as it needs them.

    Source: proc(5), meminfo, SwapFree.
    """
    free = _kibibytes(proc / "meminfo", "SwapFree") or 0
    limit = read_limits(proc / "self").swap_left_bytes
    return free if limit is None else min(free, limit)


def swapped_bytes(pid: int, proc: Path = PROC) -> int | None:
    """What of a process's own memory lies in swap space; None where that is not known.

    Source: proc(5), status, VmSwap.
    """
    return _kibibytes(proc / str(pid) / "status", "VmSwap")


def _kibibytes(path: Path, name: str) -> int | None:
    """Bytes of a line `name:  12 kB`; None where there is none."""
    try:
        with path.open("rb") as file:
            lines = file.read(_MOST_BYTES).decode("ascii", "replace").splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()
        if words and words[0] == f"{name}:" and len(words) == 3 and words[1].isdecimal():
            return int(words[1]) * 1024
    return None


def total_bytes() -> int:
    """Main memory that the daemon and its runners may have, whoever uses it now.

    The machine's, or the limit of a control group of this process when that is less.
    """
    import psutil

    total = int(psutil.virtual_memory().total)
    limit = read_limits().memory
    return total if limit is None else min(total, limit.limit_bytes)


def has_accelerator() -> bool:
    """Whether weights may go to a card, if the engine has a backend for it, as of some seconds ago:
    every request asks, and a driver's files come and go seldom.
    """
    return _has_accelerator(int(time.monotonic() / _LOOKED_AGAIN_S))


@lru_cache(maxsize=1)
def _has_accelerator(period: int) -> bool:
    if sys.platform == "darwin" or any(path.exists() for path in _ACCELERATORS):
        return True
    try:
        return any(_RENDER_NODES.glob("renderD*"))
    except OSError:
        return False
