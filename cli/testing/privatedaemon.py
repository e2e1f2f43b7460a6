"""A daemon with a home and a store of its own, gone when the block or this process ends.

A keeper stands between: a process that starts the daemon and waits for the end of its standard
input, which the kernel closes however this process ends, by `kill -9` too. It then ends the
daemon and removes the home.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final

from olmkit.engine.addresses.address import MAX_SOCKET_PATH_BYTES, parse_address
from olmkit.engine.errors import DaemonStartFailed
from olmkit.engine.settings import Settings

SOCKET_NAME: Final = "daemon.sock"
MAX_SAID_BYTES: Final = 64 * 1024


@contextmanager
def private_daemon(settings: Settings) -> Iterator[Settings]:
    """The settings of the daemon that runs during the block.

    SIGTERM ends the block as Ctrl-C does, so that all is gone before the process is.

    Raises:
        DaemonStartFailed: it did not start; with its last word.
    """
    home = Path(tempfile.mkdtemp(prefix="olm-test-", dir=_directory()))
    environ = os.environ | {
        "OLM_HOME": str(home),
        "OLM_MODELS": str(home / "models"),
        "OLM_HOST": f"unix://{home / SOCKET_NAME}",
        "OLM_CACHE_DIR": str(home / "cache" / "prompts"),
    }
    before = signal.signal(signal.SIGTERM, _end), signal.getsignal(signal.SIGINT)
    # Ctrl-C reaches every process of the terminal's group; the keeper has a group of its own.
    keeper = subprocess.Popen(
        [sys.executable, "-P", "-m", "olmkit.cli.testing.keeper"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environ,
        start_new_session=True,
    )
    try:
        assert keeper.stdout is not None
        said = keeper.stdout.readline(MAX_SAID_BYTES).decode("utf-8", "replace").strip()
        if said != "ready":
            raise DaemonStartFailed(
                said or "the private daemon did not start", log_path=str(home / "logs")
            )
        yield replace(
            settings,
            home=home,
            models=home / "models",
            address=parse_address(environ["OLM_HOST"]),
        )
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        keeper.communicate()  # closes its standard input, and waits for it
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def _directory() -> str:
    """Where the home goes: the usual place, unless the path of a socket there would be too long."""
    usual = tempfile.gettempdir()
    longest = len(os.fsencode(usual)) + len("/olm-test-xxxxxxxx/") + len(SOCKET_NAME)
    return usual if longest <= MAX_SOCKET_PATH_BYTES else "/tmp"


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
