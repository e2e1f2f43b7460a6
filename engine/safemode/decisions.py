"""What to do without when the engine dies, instead of giving up: pure decisions.

Three deaths have a cure that costs speed and no result:

* **An illegal instruction.** GCC before 12.4, 13.3 and 14 compiles ggml's AMX kernels wrongly, and
  the first prompt ends in SIGILL; weights in plain buffers do not go through those kernels. An
  engine that was built for another machine dies likewise, and nothing but other libraries helps.
  Source: https://github.com/ggml-org/llama.cpp/pull/26954
* **Libraries that cannot be loaded.** Where the user chose others than the installed ones
  (`LLAMA_CPP_LIB_PATH`), those are still there.
* **A device that the engine has no code for, or whose driver is too old for it.** The processor
  can do the work.

Each step takes one thing more away, or turns to the other libraries, so a chain of them ends.
"""

import enum
import re
import signal
from typing import Final

import msgspec

from olmkit.engine.runner.protocol import EXIT_NO_ENGINE, SafeMode

NORMAL: Final = SafeMode()
"""Nothing is left out."""

_DEVICE_LINE: Final = re.compile(
    r"no kernel image is available|device kernel image is invalid|invalid device function"
    r"|provided PTX was compiled with an unsupported toolchain"
    r"|CUDA driver version is insufficient|driver version is insufficient",
    re.IGNORECASE,
)
"""Words of CUDA and ROCm about a device that the engine was not built for; no word of memory.

Source: CUDA runtime API, cudaGetErrorString; HIP, hipGetErrorString."""
_ERROR_PREFIX: Final = "error "


class Trouble(enum.Enum):
    """A death that has a cure."""

    ILLEGAL_INSTRUCTION = enum.auto()
    LIBRARIES = enum.auto()
    DEVICE = enum.auto()


def trouble_of(exit_status: int | None, log_tail: str) -> Trouble | None:
    """What killed a process that uses the engine; None: nothing that leaving out cures.

    `exit_status` as in `subprocess`: negative for a signal.
    """
    if exit_status == -signal.SIGILL:
        return Trouble.ILLEGAL_INSTRUCTION
    if exit_status == EXIT_NO_ENGINE:
        return Trouble.LIBRARIES
    if exit_status == -signal.SIGABRT and _DEVICE_LINE.search(log_tail):
        return Trouble.DEVICE
    return None


def next_mode(mode: SafeMode, trouble: Trouble, *, has_fallback: bool) -> SafeMode | None:
    """What to try after an engine in `mode` died of `trouble`; None: nothing is left.

    `has_fallback`: there are installed libraries beside those that the user chose.
    """
    other_libraries = None
    if has_fallback and not mode.installed_libraries:
        other_libraries = SafeMode(installed_libraries=True)
    match trouble:
        case Trouble.ILLEGAL_INSTRUCTION if not mode.plain_buffers:
            return msgspec.structs.replace(mode, plain_buffers=True)
        case Trouble.DEVICE if not mode.cpu_only:
            return msgspec.structs.replace(mode, cpu_only=True)
        case _:
            return other_libraries


def reason_of(trouble: Trouble, log_tail: str) -> str:
    """Completes "the engine …": why it died."""
    match trouble:
        case Trouble.ILLEGAL_INSTRUCTION:
            return "was killed by SIGILL, an illegal instruction"
        case Trouble.LIBRARIES:
            return f"has no usable libraries ({_last_error(log_tail) or 'no reason was given'})"
        case Trouble.DEVICE:
            found = _DEVICE_LINE.search(log_tail)
            return f"cannot use the graphics card ({found[0] if found else 'no reason was given'})"


def caveat_of(mode: SafeMode, reason: str) -> str:
    """One sentence for the user: what is left out, and why; empty for the normal mode."""
    parts = []
    if mode.installed_libraries:
        parts.append("with the installed libraries instead of those of LLAMA_CPP_LIB_PATH")
    if mode.plain_buffers:
        parts.append("without AMX and repacked weights, which is slower")
    if mode.cpu_only:
        parts.append("without the graphics card")
    return f"safe mode: {', '.join(parts)}, because the engine {reason}" if parts else ""


def _last_error(log_tail: str) -> str:
    lines = [line for line in log_tail.splitlines() if line.startswith(_ERROR_PREFIX)]
    return lines[-1].removeprefix(_ERROR_PREFIX)[:500] if lines else ""
