"""The processor of this machine: its name, and what instructions it has."""

import hashlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CPUINFO: Final = Path("/proc/cpuinfo")
_MAX_BYTES: Final = 1 << 20
"""More than the first processor of any machine takes; only that one is read."""
_MODEL_KEYS: Final = ("model name", "cpu model", "Processor", "uarch")
_FLAG_KEYS: Final = ("flags", "Features", "isa")


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """What a processor says of itself."""

    model: str
    """`AMD EPYC 9B14`; empty where the system does not say."""
    machine: str
    """`x86_64`, `aarch64`."""
    flags: frozenset[str]
    """The kernel's words for what it can do: `avx2`, `amx_int8`, `asimddp`."""
    threads: int
    """Hardware threads that this process may use."""

    @property
    def fingerprint(self) -> str:
        """The same for all processors on which the same machine code runs the same way."""
        text = "\n".join((self.machine, self.model, *sorted(self.flags)))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def this_processor(cpuinfo: Path = CPUINFO) -> Processor:
    """The processor that this process runs on; never fails.

    Source: Linux, Documentation/filesystems/proc.rst, /proc/cpuinfo.
    """
    fields = _first_processor(cpuinfo)
    model = next((fields[key] for key in _MODEL_KEYS if fields.get(key)), "")
    flags = next((fields[key] for key in _FLAG_KEYS if key in fields), "")
    return Processor(
        model=model or platform.processor(),
        machine=platform.machine(),
        flags=frozenset(flags.split()),
        threads=_usable_threads(),
    )


def _first_processor(cpuinfo: Path) -> dict[str, str]:
    """The lines of the first block, by name; none where there is no such file."""
    fields: dict[str, str] = {}
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as file:
            for line in file.read(_MAX_BYTES).splitlines():
                name, colon, value = line.partition(":")
                if not colon and fields:
                    break
                fields.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    return fields


def _usable_threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
