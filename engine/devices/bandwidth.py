"""How fast this machine reads its memory: `python -m olmkit.engine.devices.bandwidth`.

Prints bytes a second, all processors together. Decoding reads every weight once a token, so this
bounds its pace. In a process of its own, for it takes 128 MiB a processor for a tenth of a second.
"""

import ctypes
import os
import subprocess
import sys
import threading
import time
from typing import Final

_BLOCK_BYTES: Final = 64 << 20
_MOST_THREADS: Final = 16
_ROUNDS: Final = 3
_ANSWER_S: Final = 20.0


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
    command = [sys.executable, "-P", "-m", "olmkit.engine.devices.bandwidth"]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_ANSWER_S, check=True, stdin=subprocess.DEVNULL
        )
        return float(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


if __name__ == "__main__":
    sys.stdout.write(f"{measure():.0f}\n")
