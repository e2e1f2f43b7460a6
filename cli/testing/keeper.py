"""Keeps the daemon of `privatedaemon` until its standard input ends, then removes all of it.

It says `ready` on its standard output, or in one sentence why the daemon did not start.
"""

import os
import shutil
import signal
import sys
from contextlib import suppress
from typing import Final

from olmkit.engine.client.launch import find_daemon, start_daemon, stop_daemon
from olmkit.engine.errors import EngineError
from olmkit.engine.settings import Settings

STOP_TIMEOUT_S: Final = 20.0


def main() -> None:
    """Runs until standard input ends; its environment says which home is meant."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    settings = Settings.load()
    try:
        start_daemon(settings)
        _say("ready")
        sys.stdin.read()
    except EngineError as error:
        _say(str(error))
    finally:
        _stop(settings)
        shutil.rmtree(settings.home, ignore_errors=True)


def _say(text: str) -> None:
    """A line for the process that waits for it, if that one still lives."""
    with suppress(BrokenPipeError):
        print(text, flush=True)


def _stop(settings: Settings) -> None:
    daemon = find_daemon(settings)
    if daemon is not None and not stop_daemon(daemon, timeout_s=STOP_TIMEOUT_S):
        os.kill(daemon.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
