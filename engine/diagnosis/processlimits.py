"""What this process may have: memory, processor time, open files."""

import resource
from dataclasses import dataclass
from typing import Final

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
    """Of this process, which a daemon that is started here inherits."""

    memory_total_bytes: int
    """Main memory: of the machine, or what its control groups allow."""
    memory_available_bytes: int
    """What can be had now without swapping."""
    ulimits: dict[str, int | None]
    """Soft limits by name; None: unlimited."""


def read_limits_of_process() -> Limits:
    """The limits as they are now."""
    soft = {name: resource.getrlimit(number)[0] for name, number in _NAMES.items()}
    return Limits(
        memory_total_bytes=total_bytes(),
        memory_available_bytes=available_bytes(),
        ulimits={
            name: None if value == resource.RLIM_INFINITY else value for name, value in soft.items()
        },
    )
