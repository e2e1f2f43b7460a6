"""How fast this machine reads its memory: `python -m olmkit.engine.devices.bandwidth`.

Prints bytes a second, all processors together. Decoding reads every weight once a token, so this
bounds its pace. In a process of its own, for it takes 128 MiB a processor for a tenth of a second.
Other devices are measured by the engine, in a process of its own as well.
"""

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Final

import msgspec

_BLOCK_BYTES: Final = 64 << 20
_MOST_THREADS: Final = 16
_ROUNDS: Final = 3
_ANSWER_S: Final = 20.0

_decoder = msgspec.json.Decoder(dict[str, float])


def measure() -> float:
    """Bytes a second that all processors read together, the best of some rounds."""
    libc = ctypes.CDLL(None)
    libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    count = max(1, min(_MOST_THREADS, os.cpu_count() or 1))
    pairs = [
        [ctypes.create_string_buffer(b"\1" * _BLOCK_BYTES, _BLOCK_BYTES) for _ in range(2)]
        for _ in range(count)
    ]
    best = 0.0
    for _ in range(_ROUNDS):
        threads = [
            threading.Thread(target=libc.memcmp, args=(*pair, _BLOCK_BYTES)) for pair in pairs
        ]
        began_s = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best = max(best, 2 * _BLOCK_BYTES * count / (time.perf_counter() - began_s))
    return best


def measured_bandwidth() -> float | None:
    """The same, by a child; None where that fails. Blocking."""
    try:
        return float(_printed("olmkit.engine.devices.bandwidth"))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def measured_bandwidths(devices: Sequence[str]) -> dict[str, float]:
    """Bytes a second by device, of those that can be measured; by a child. Blocking."""
    try:
        return _decoder.decode(_printed("olmkit.engine.runner.process.devicespeed", *devices))
    except (OSError, msgspec.DecodeError, subprocess.SubprocessError):
        return {}


def _printed(module: str, *arguments: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, *arguments],
        capture_output=True,
        timeout=_ANSWER_S,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout


if __name__ == "__main__":
    sys.stdout.write(f"{measure():.0f}\n")
