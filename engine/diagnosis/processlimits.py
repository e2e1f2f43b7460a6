"""What this process may have: memory, processor time, open files."""

import resource
from dataclasses import dataclass
from typing import Final

from olmkit.engine.cgroups import read_limits
from olmkit.engine.planning.available import available_bytes, total_bytes

_NAMES: Final = {
    "open_files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
    "address_space_bytes": resource.RLIMIT_AS,
    "locked_memory_bytes": resource.RLIMIT_MEMLOCK,
    "file_size_bytes": resource.RLIMIT_FSIZE,
    "core_bytes": resource.RLIMIT_CORE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of this process; a daemon that is started from here inherits them."""

    memory_total_bytes: int
    """Main memory: of the machine, or what its control groups allow."""
    memory_available_bytes: int
    """What can be had now without swapping."""
    cgroup_memory_bytes: int | None
    """The tightest memory limit of its control groups; None: there is none."""
    cgroup_cores: float | None
    """The tightest quota of processor time, in cores."""
    ulimits: dict[str, int | None]
    """Soft limits by name; None: unlimited."""


def read_limits_of_process() -> Limits:
    """The limits as they are now."""
    soft = {name: resource.getrlimit(number)[0] for name, number in _NAMES.items()}
    groups = read_limits()
    return Limits(
        cgroup_memory_bytes=groups.memory.limit_bytes if groups.memory else None,
        cgroup_cores=groups.cpu.cores if groups.cpu else None,
        memory_total_bytes=total_bytes(),
        memory_available_bytes=available_bytes(),
        ulimits={
            name: None if value == resource.RLIM_INFINITY else value for name, value in soft.items()
        },
    )
