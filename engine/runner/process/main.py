"""The runner process: one model, llama.cpp, one thread.

Started by the daemon as `python -m olmkit.engine.runner.process.main --fd N`, where N is an
inherited end of a socketpair that carries the frames of `protocol`. Lives exactly as long
as that stream: its end is the order to go, and the kernel's parent-death signal ends a runner
that is in the midst of a long step then. Log lines go to stderr.
"""

import argparse
import ctypes
import os
import signal
import socket
import struct
import sys
from typing import Final, NoReturn

from olmkit.engine.confinement.levels import Confinement
from olmkit.engine.facts.suitability import engine_warning
from olmkit.engine.framing import ProtocolViolation
from olmkit.engine.runner.protocol import EXIT_NO_ENGINE

_PR_SET_PDEATHSIG: Final = 1
_CREDENTIALS: Final = struct.Struct("3i")
"""Process, user and group: what SO_PEERCRED gives."""

EXIT_DONE: Final = 0
"""The daemon closed its end."""
EXIT_FAILED: Final = 1
"""An error that nobody foresaw."""
EXIT_VIOLATION: Final = 2
"""The daemon sent what is no frame (argparse uses the same status)."""


def main() -> NoReturn:
    """Runs the process to its end; does not return."""
    parser = argparse.ArgumentParser(prog="olm-runner", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="inherited socketpair end")
    levels = ("debug", "info", "warn", "error")
    parser.add_argument("--log-level", choices=levels, default="info", help="least level logged")
    parser.add_argument(
        "--confine", type=Confinement, choices=Confinement, default=Confinement.FULL
    )
    arguments = parser.parse_args()
    peer = socket.socket(fileno=arguments.fd)
    _end_with_parent(peer)
    # The terminal's Ctrl-C is for the command that runs there; the daemon says when to go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A failed assertion in llama.cpp would start a debugger on this process before it aborts.
    os.environ["GGML_NO_BACKTRACE"] = "1"
    # No teardown: freeing gigabytes piece by piece only takes time that the daemon waits.
    os._exit(_serve(peer, arguments.log_level, arguments.confine))


def _serve(peer: socket.socket, log_level: str, confinement: Confinement) -> int:
    """Serves the daemon; returns the exit status."""
    try:
        # Here, not above: the import loads llama.cpp's libraries, and that may fail.
        from olmkit.engine.runner import log
        from olmkit.engine.runner.bindings import (
            LogLevel,
            initialize,
            libraries,
            set_log_sink,
            system_info,
        )
        from olmkit.engine.runner.process.confined import Confiner
        from olmkit.engine.runner.process.frames import FrameSocket, PeerGone
        from olmkit.engine.runner.process.loop import Loop

        log.start(LogLevel[log_level.upper()])
        initialize()
    except ImportError as error:
        sys.stderr.write(f"error {' '.join(str(error).split())}\n")
        return EXIT_NO_ENGINE
    try:
        set_log_sink(log.write_native)
        if warning := engine_warning(libraries(), system_info=system_info()):
            log.write(LogLevel.WARN, warning)
        loop = Loop(FrameSocket(peer), Confiner(confinement))
        try:
            loop.run()
        except PeerGone:
            loop.save_prompts()
            return EXIT_DONE
    except ProtocolViolation as error:
        log.write(LogLevel.ERROR, f"protocol violation: {error}")
        return EXIT_VIOLATION
    except Exception as error:
        log.write_exception("the runner failed", error)
    return EXIT_FAILED


def _end_with_parent(peer: socket.socket) -> None:
    """Asks the kernel to kill this process when the thread that started it ends (Linux).

    Who made the socketpair is the parent; where it is not any more, it died before this call.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    size = _CREDENTIALS.size
    maker, _, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    if maker not in (0, os.getppid()):  # 0: it lives in another process namespace
        os._exit(EXIT_DONE)


if __name__ == "__main__":
    main()
